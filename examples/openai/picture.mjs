// A picture, asked for in OpenAI's words. Needs the package openai.
import { writeFile } from "node:fs/promises";
import OpenAI from "openai";

const server = process.env.CALOTYPE_URL ?? "http://127.0.0.1:8700";
const client = new OpenAI({ baseURL: `${server}/v1`, apiKey: process.env.CALOTYPE_KEY });

const { data, response } = await client.images
  .generate({
    model: "local/sketch",
    prompt: "a lighthouse on a cliff at sunset",
    size: "1024x768",
    response_format: "b64_json",
  })
  .withResponse();
await writeFile("lighthouse.png", Buffer.from(data.data[0].b64_json, "base64"));
console.log(`lighthouse.png, for ${response.headers.get("x-phi-cost-micro")} millionths of a USD`);
