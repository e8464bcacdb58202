// A film of a picture of yours: node film.mjs photo.jpg. Needs Node alone.
import { openAsBlob } from "node:fs";
import { writeFile } from "node:fs/promises";
import { basename } from "node:path";
import { setTimeout as pause } from "node:timers/promises";

const photo = process.argv[2];
if (!photo) throw new Error("usage: node film.mjs PHOTO");
const api = `${process.env.CALOTYPE_URL ?? "http://127.0.0.1:8700"}/api/v1`;

const ask = async (path, body) => {
  const form = body instanceof FormData;
  const response = await fetch(api + path, {
    method: body === undefined ? "GET" : "POST",
    headers: {
      Authorization: `Bearer ${process.env.CALOTYPE_KEY}`,
      ...(body === undefined || form ? {} : { "Content-Type": "application/json" }),
    },
    body: form ? body : JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`);
  return response.json();
};

const form = new FormData();
form.set("file", await openAsBlob(photo), basename(photo));
const { url } = await ask("/media/upload", form);

const { job_id } = await ask("/image-to-video/create", { image_url: url, duration: 2, zoom: { mode: "center" } });

let job = await ask(`/image-to-video/status/${job_id}`);
while (job.status === "processing") {
  await pause(1000);
  job = await ask(`/image-to-video/status/${job_id}`);
}
if (job.status !== "completed") throw new Error(`${job.status}: ${job.error}`);

const film = await fetch(job.video_url);
await writeFile("film.mp4", Buffer.from(await film.arrayBuffer()));
const { credits_balance_formatted } = await ask("/user/credits");
console.log(`film.mp4; ${credits_balance_formatted} are left`);
