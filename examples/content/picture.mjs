// A picture at the one price that the catalogue names. Needs Node alone.
import { writeFile } from "node:fs/promises";

const server = process.env.CALOTYPE_URL ?? "http://127.0.0.1:8700";
const entry = await (await fetch(`${server}/catalog/content-image-generate.json`)).json();
console.log(`${entry.title}: ${entry.price}, ${entry.status}`);

const answer = await fetch(entry.apiUrl, {
  method: "POST",
  headers: { Authorization: `Bearer ${process.env.CALOTYPE_KEY}`, "Content-Type": "application/json" },
  body: JSON.stringify({ prompt: "a lighthouse on a cliff at sunset", aspectRatio: "4:3" }),
});
if (!answer.ok) throw new Error(`${answer.status}: ${await answer.text()}`);
const made = await answer.json();
const file = await fetch(made.assets[0].url);
await writeFile("lighthouse.png", Buffer.from(await file.arrayBuffer()));
console.log(`lighthouse.png for ${made.retailPrice}`);
