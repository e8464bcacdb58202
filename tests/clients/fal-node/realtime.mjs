// A realtime program as fal's JavaScript users write it, with the unmodified package; prints one line of JSON.
const given = JSON.parse(process.argv[2]);
const { createFalClient } = await import(given.package);
const fal = createFalClient({ credentials: given.key });
const seen = { results: [], errors: [] };

const session = (model, key) => {
  let wake = () => {};
  const connection = fal.realtime.connect(model, {
    connectionKey: key, throttleInterval: 0, maxBuffering: 5,
    onResult: (result) => { seen.results.push(result); wake(); },
    onError: (error) => { seen.errors.push({ message: error.message, status: error.status, body: error.body }); wake(); },
  });
  const ask = (input) => new Promise((resolve) => { wake = resolve; connection.send(input); });
  return { ask, close: () => connection.close() };
};

const pictures = session("test/picture", "pictures");
for (const prompt of ["one", "two", "three"]) await pictures.ask({ prompt });
await pictures.ask({ prompt: "x", num_images: 99 });
await pictures.ask({ prompt: "lean", sync_mode: true });
pictures.close();
const unknown = session("no/such-model", "unknown");
await unknown.ask({ prompt: "x" });
unknown.close();

const shown = seen.results.map((result) => ({
  prompt: result.prompt, bytes: result.images[0].content?.byteLength ?? 0, url: result.images[0].url.slice(0, 22),
  type: result.images[0].content?.constructor.name ?? null, id: result.request_id,
}));
console.log(JSON.stringify({ results: shown, errors: seen.errors }));
process.exit(0);
