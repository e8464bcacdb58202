// A picture in one call. Needs Node alone.
import { writeFile } from "node:fs/promises";

const server = process.env.CALOTYPE_URL ?? "http://127.0.0.1:8700";
const answer = await fetch(`${server}/api/v1/image/generate`, {
  method: "POST",
  headers: { Authorization: `Bearer ${process.env.CALOTYPE_KEY}`, "Content-Type": "application/json" },
  body: JSON.stringify({
    model: "local/sketch", prompt: "a lighthouse on a cliff at sunset", width: 1024, height: 768,
  }),
});
if (!answer.ok) throw new Error(`${answer.status}: ${await answer.text()}`);
const { data } = await answer.json();
const file = await fetch(data.images[0].url);
await writeFile("lighthouse.png", Buffer.from(await file.arrayBuffer()));
console.log(`lighthouse.png by ${data.model}, for ${data.cost_usd} USD`);
