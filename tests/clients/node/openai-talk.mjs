// Talks, listens and draws with the unmodified openai package and prints what it saw, one JSON object.
import OpenAI, { toFile } from "openai";

const { base, key, picture, recording } = JSON.parse(process.argv[2]);
const client = new OpenAI({ baseURL: base, apiKey: key, maxRetries: 0 });
const messages = [{ role: "user", content: "one two three" }];
const tools = [{ type: "function", function: { name: "look", parameters: { type: "object", properties: {} } } }];
const bytes = async (response) => Buffer.from(await response.arrayBuffer());
const wav = () => toFile(Buffer.from(recording, "base64"), "a.wav", { type: "audio/wav" });
const png = (name) => toFile(Buffer.from(picture, "base64"), name, { type: "image/png" });

const steps = {
  async chat() {
    const answer = await client.chat.completions.create({ model: "test/chat", messages });
    return { text: answer.choices[0].message.content, tokens: answer.usage.total_tokens };
  },
  async stream() {
    const stream = await client.chat.completions.create({
      model: "test/chat", messages, stream: true, stream_options: { include_usage: true },
    });
    let text = "", chunks = 0, tokens = 0;
    for await (const chunk of stream) {
      chunks += 1;
      text += chunk.choices[0]?.delta?.content ?? "";
      tokens = chunk.usage?.total_tokens ?? tokens;
    }
    return { text, chunks, tokens };
  },
  async helper() {
    const runner = client.chat.completions.stream({ model: "test/chat", messages });
    let seen = "";
    runner.on("content", (delta) => { seen += delta; });
    const final = await runner.finalContent();
    return { seen, final };
  },
  async tools() {
    const runner = client.chat.completions.stream({
      model: "test/chat", messages: [{ role: "user", content: "look @tool" }], tools,
    });
    const final = await runner.finalChatCompletion();
    const [call] = final.choices[0].message.tool_calls;
    return { name: call.function.name, arguments: JSON.parse(call.function.arguments), reason: final.choices[0].finish_reason };
  },
  async broken() {
    let seen = "";
    try {
      const content = "one two three four five six @midstream";
      const stream = await client.chat.completions.create({
        model: "test/chat", stream: true, messages: [{ role: "user", content }],
      });
      for await (const chunk of stream) seen += chunk.choices[0].delta.content ?? "";
    } catch (caught) {
      return { seen, code: caught.code };
    }
    throw new Error("no error was thrown");
  },
  async embeddings() {
    const made = await client.embeddings.create({ model: "test/vectors", input: ["a", "b"], dimensions: 8 });
    return made.data.map((one) => one.embedding.length);
  },
  async speech() {
    const made = await client.audio.speech.create({
      model: "test/voice", input: "good evening", voice: "alloy", response_format: "wav",
    });
    return { type: made.headers.get("content-type"), magic: (await bytes(made)).subarray(0, 4).toString() };
  },
  async heard() {
    const plain = await client.audio.transcriptions.create({ model: "test/ear", file: await wav() });
    const srt = await client.audio.transcriptions.create({ model: "test/ear", file: await wav(), response_format: "srt" });
    const long = await client.audio.transcriptions.create({
      model: "test/ear", file: await wav(), response_format: "verbose_json", timestamp_granularities: ["word"],
    });
    return { text: plain.text, srt: srt.slice(0, 2), words: long.words.length };
  },
  async edits() {
    const one = await client.images.edit({ model: "test/edit", image: await png("a.png"), prompt: "x" });
    const two = await client.images.edit({
      model: "test/edit", image: [await png("a.png"), await png("b.png")], mask: await png("m.png"), prompt: "x", n: 2,
    });
    return [one.data.length, two.data.length];
  },
  async drawing() {
    const stream = await client.images.generate({
      model: "local/sketch", prompt: "a fox", size: "256x256", stream: true, partial_images: 2,
    });
    const kinds = [];
    for await (const event of stream) kinds.push(event.type);
    return kinds.at(-1);
  },
  async files() {
    const made = [];
    for (const name of ["a.png", "b.png", "c.png"]) {
      made.push((await client.files.create({ file: await png(name), purpose: "vision" })).id);
    }
    const listed = [];
    for await (const file of client.files.list({ limit: 2, order: "asc" })) listed.push(file.id);
    return { same: made.join() === listed.join() };
  },
};

const seen = {};
for (const [name, step] of Object.entries(steps)) seen[name] = await step();
console.log(JSON.stringify(seen));
