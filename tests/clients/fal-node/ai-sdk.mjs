// The unmodified AI SDK with its fal provider; prints what it saw as one line of JSON.
import { createFal } from "@ai-sdk/fal";
import { generateImage } from "ai";

const { base, key, poor } = JSON.parse(process.argv[2]);
const fal = (apiKey) => createFal({ apiKey, baseURL: base });
const draw = (apiKey, model, more) =>
  generateImage({ model: fal(apiKey).image(model), prompt: "a harbour", maxRetries: 0, ...more });

const failure = async (work) => {
  try {
    await work();
    return null;
  } catch (error) {
    return { name: error.name, status: error.statusCode, message: error.message };
  }
};

const made = await draw(key, "test/picture", { n: 2, size: "512x256", seed: 7 });
const seen = {
  pictures: made.images.map((image) => ({ base64: image.base64, type: image.mediaType })),
  ratio: (await draw(key, "local/sketch", { aspectRatio: "16:9" })).images.length,
  unknown: await failure(() => draw(key, "no/such-model")),
  nobody: await failure(() => draw("a:b", "test/picture")),
  poor: await failure(() => draw(poor, "test/picture")),
  invalid: await failure(() => draw(key, "test/picture", { providerOptions: { fal: { guidance: 99 } } })),
};
console.log(JSON.stringify(seen));
