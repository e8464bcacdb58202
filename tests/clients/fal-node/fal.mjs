// A program as fal's JavaScript users write it, with the unmodified package; prints what it saw as one line of JSON.
import { readFileSync } from "node:fs";

const given = JSON.parse(process.argv[2]);
const { createFalClient, ValidationError, ApiError } = await import(given.package);

const settings = { credentials: given.key };
if (given.way === "proxyUrl") settings.proxyUrl = { url: given.proxy, when: "always" };
if (given.way === "middleware") {
  settings.requestMiddleware = async (request) => ({
    ...request,
    url: given.proxy,
    headers: { ...(request.headers ?? {}), "x-fal-target-url": request.url },
  });
}
const fal = createFalClient(settings);
const model = "test/picture";
const input = { prompt: "a lighthouse", image_size: "square", num_images: 2, enable_safety_checker: true };
const still = { duration: 1, size: "256x256" };
const seen = {};
const picture = new Blob([readFileSync(given.picture)], { type: "image/png" });

const failure = async (work) => {
  try {
    await work();
    return null;
  } catch (error) {
    return {
      validation: error instanceof ValidationError, api: error instanceof ApiError, status: error.status,
      message: error.message, body: error.body, requestId: error.requestId,
      fields: error.fieldErrors?.map((one) => one.loc.join(".")),
    };
  }
};
const words = (updates) => [...new Set(updates.map((update) => update.status))];

if (given.big) {
  const big = new Blob([new Uint8Array(given.big).fill(7)], { type: "application/octet-stream" });
  seen.big = await fal.storage.upload(big);
} else if (given.cut) {
  seen.cut = await fal.run(model, { input: { prompt: "cut off" } });
} else {
  seen.run = await fal.run(model, { input });
  const updates = [];
  seen.subscribe = await fal.subscribe(model, { input, logs: true, onQueueUpdate: (update) => updates.push(update) });
  seen.updates = words(updates);
  seen.logs = updates.at(-1).logs?.map((line) => line.message);

  const streamed = [];
  seen.streaming = await fal.subscribe(model, {
    input, logs: true, mode: "streaming", onQueueUpdate: (update) => streamed.push(update),
  });
  seen.streamed = words(streamed);
  seen.streamedLogs = streamed.at(-1).logs?.map((line) => line.message);

  const queued = await fal.queue.submit(model, { input, priority: "low", startTimeout: 30 });
  seen.id = queued.request_id;
  await fal.queue.subscribeToStatus(model, { requestId: queued.request_id });
  seen.status = await fal.queue.status(model, { requestId: queued.request_id, logs: true });
  seen.result = await fal.queue.result(model, { requestId: queued.request_id });
  seen.cancelDone = await failure(() => fal.queue.cancel(model, { requestId: queued.request_id }));

  const slow = await fal.queue.submit("local/sketch-video", { input: { prompt: "waves", duration: "20" } });
  await fal.queue.cancel("local/sketch-video", { requestId: slow.request_id });
  seen.canceled = await fal.queue.subscribeToStatus("local/sketch-video", { requestId: slow.request_id });
  seen.canceledResult = await failure(() =>
    fal.queue.result("local/sketch-video", { requestId: slow.request_id }),
  );

  const stream = await fal.stream("local/sketch-video", { input: { prompt: "wäves", duration: 2, seed: 5, size: "256x256" } });
  seen.events = [];
  for await (const event of stream) seen.events.push(event);
  seen.last = await stream.done();

  seen.missing = await failure(() => fal.run(model, { input: {} }));
  seen.submitMissing = await failure(() => fal.subscribe(model, { input: {} }));
  seen.unknown = await failure(() => fal.queue.submit("no/such-model", { input: {} }));
  seen.nobody = await failure(() => createFalClient({ ...settings, credentials: "a:b" }).run(model, { input }));
  seen.poor = await failure(() => createFalClient({ ...settings, credentials: given.poor }).run(model, { input }));

  seen.uploaded = await fal.storage.upload(picture);
  seen.used = await fal.subscribe("local/ken-burns", { input: { image_url: picture, ...still } });
}
console.log(JSON.stringify(seen));
