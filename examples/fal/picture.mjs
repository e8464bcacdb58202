// A picture through fal's queue, with fal's own client. Needs the package @fal-ai/client (1.10 or newer).
import { writeFile } from "node:fs/promises";
import { createFalClient } from "@fal-ai/client";

const server = process.env.CALOTYPE_URL ?? "http://127.0.0.1:8700";
const fal = createFalClient({
  credentials: process.env.CALOTYPE_KEY,
  proxyUrl: { url: `${server}/api/fal/proxy`, when: "always" },
});

const { data } = await fal.subscribe("local/sketch", {
  input: { prompt: "a lighthouse on a cliff at sunset", image_size: "landscape_4_3" },
  onQueueUpdate: (update) => console.log(update.status),
});
const file = await fetch(data.images[0].url);
await writeFile("lighthouse.png", Buffer.from(await file.arrayBuffer()));
console.log("lighthouse.png");
