// Drives the server with the unmodified openai package and prints what it saw, one JSON object.
import OpenAI, { toFile } from "openai";

const { base, key, poorKey, counter, picture } = JSON.parse(process.argv[2]);
const client = new OpenAI({ baseURL: base, apiKey: key });
const seen = {};

const bytes = async (response) => Buffer.from(await response.arrayBuffer());
const error = async (call) => {
  try {
    await call();
  } catch (caught) {
    const { name } = caught.constructor;
    return { name, status: caught.status, code: caught.code, param: caught.param, requestID: caught.requestID };
  }
  throw new Error("no error was thrown");
};

const steps = {
  async urls() {
    const answer = await client.images.generate({ model: "local/sketch", prompt: "a fox", size: "256x256" });
    const fetched = await bytes(await fetch(answer.data[0].url));
    return { count: answer.data.length, magic: fetched.subarray(1, 4).toString() };
  },
  async base64() {
    const answer = await client.images.generate({
      model: "test/picture", prompt: "a harbour", n: 3, response_format: "b64_json", size: "1024x768", seed: 7,
    });
    return answer.data.map((one) => one.b64_json);
  },
  async headers() {
    const { response, request_id } = await client.images
      .generate({ model: "test/picture", prompt: "a harbour" })
      .withResponse();
    return { cost: response.headers.get("x-phi-cost-micro"), request_id };
  },
  async videos() {
    const made = await client.videos.create({
      model: "local/sketch-video", prompt: "waves", seconds: "1", size: "256x256",
    });
    let video = made;
    while (video.status === "queued" || video.status === "in_progress") video = await client.videos.retrieve(made.id);
    const listed = [];
    for await (const one of client.videos.list()) listed.push(one.id);
    const film = await bytes(await client.videos.downloadContent(made.id));
    const gone = await client.videos.delete(made.id);
    return {
      id: made.id, status: video.status, listed, magic: film.subarray(4, 8).toString(), deleted: gone.deleted,
    };
  },
  async still() {
    const made = await client.videos.create({
      model: "local/ken-burns", prompt: "x", seconds: "1", size: "256x256",
      input_reference: await toFile(Buffer.from(picture, "base64"), "still.png", { type: "image/png" }),
    });
    let video = made;
    while (video.status === "queued" || video.status === "in_progress") video = await client.videos.retrieve(made.id);
    return video.status;
  },
  async models() {
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    const one = await client.models.retrieve("local/sketch");
    return { ids, one: one.id };
  },
  async files() {
    const file = await toFile(Buffer.from(picture, "base64"), "still.png", { type: "image/png" });
    const made = await client.files.create({ file, purpose: "vision" });
    const got = await client.files.retrieve(made.id);
    const content = await bytes(await client.files.content(made.id));
    const gone = await client.files.delete(made.id);
    return { same: got.id === made.id, content: content.toString("base64"), deleted: gone.deleted };
  },
  async errors() {
    const as = (apiKey) => new OpenAI({ baseURL: base, apiKey });
    const ask = (who, more) => error(() => who.images.generate({ model: "test/picture", prompt: "x", ...more }));
    return {
      invalid: await ask(client, { n: 99 }),
      nobody: await ask(as("ct_live_nobody"), {}),
      poor: await ask(as(poorKey), {}),
      unknown: await ask(client, { model: "nothing-like-it" }),
      planned: await ask(client, { model: "krea-2" }),
    };
  },
  async retries() {
    // through the proxy: the first connection is cut after the request went through
    const cut = new OpenAI({ baseURL: counter, apiKey: key });
    const answer = await cut.images.generate({ model: "test/picture", prompt: "cut off", n: 2 });
    return answer.data.length;
  },
};

for (const [name, step] of Object.entries(steps)) {
  if (name === "retries" && !counter) continue;
  seen[name] = await step();
}
console.log(JSON.stringify(seen));
