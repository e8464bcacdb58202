// The unmodified AI SDK with its OpenAI provider, and with the one for servers that speak alike; prints what it saw.
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import * as ai from "ai";
import { z } from "zod";

const { base, key, picture, recording } = JSON.parse(process.argv[2]);
const house = createOpenAI({ baseURL: base, apiKey: key });
const alike = createOpenAICompatible({ name: "calotype", baseURL: base, apiKey: key, includeUsage: true });
const prompt = "one two three";
const maxRetries = 0;

const steps = {
  async text() {
    const made = await ai.generateText({ model: house.chat("test/chat"), prompt, maxRetries });
    return { text: made.text, tokens: made.usage.totalTokens, reason: made.finishReason };
  },
  async stream() {
    const made = ai.streamText({ model: alike.chatModel("test/chat"), prompt: "one two @reasoning", maxRetries });
    let text = "", reasoning = "";
    for await (const part of made.fullStream) {
      if (part.type === "error") throw part.error;
      if (part.type === "text-delta") text += part.text;
      if (part.type === "reasoning-delta") reasoning += part.text;
    }
    return { text, reasoning, tokens: (await made.usage).totalTokens };
  },
  async tools() {
    const look = ai.tool({ description: "looks", inputSchema: z.object({ text: z.string() }), execute: async () => "a fox" });
    const made = await ai.generateText({
      model: house.chat("test/chat"), prompt: "look @tool", tools: { look }, maxRetries,
    });
    return made.toolCalls.map((call) => [call.toolName, call.input.text]);
  },
  async vision() {
    const content = [{ type: "text", text: "what" }, { type: "image", image: Buffer.from(picture, "base64") }];
    const made = await ai.generateText({
      model: house.chat("test/chat"), messages: [{ role: "user", content }], maxRetries,
    });
    return made.text;
  },
  async embeddings() {
    const made = await ai.embedMany({ model: house.embedding("test/vectors"), values: ["a", "b"], maxRetries });
    return { count: made.embeddings.length, length: made.embeddings[0].length, tokens: made.usage.tokens };
  },
  async speech() {
    const speak = ai.generateSpeech ?? ai.experimental_generateSpeech;
    const made = await speak({ model: house.speech("test/voice"), text: "good evening", voice: "alloy", maxRetries });
    return made.audio.mediaType;
  },
  async heard() {
    const transcribe = ai.transcribe ?? ai.experimental_transcribe;
    const made = await transcribe({
      model: house.transcription("test/ear"), audio: Buffer.from(recording, "base64"), maxRetries,
      providerOptions: { openai: { responseFormat: "verbose_json" } },
    });
    return { text: made.text, segments: made.segments.length };
  },
  async drawing() {
    const draw = ai.generateImage ?? ai.experimental_generateImage;
    const made = await draw({ model: house.image("local/sketch"), prompt: "a fox", size: "256x256", maxRetries });
    return Buffer.from(made.image.uint8Array).subarray(1, 4).toString();
  },
  async refusal() {
    try {
      await ai.generateText({ model: house.chat("nothing-like-it"), prompt, maxRetries });
    } catch (caught) {
      return { status: caught.statusCode, code: JSON.parse(caught.responseBody).error.code };
    }
    throw new Error("no error was thrown");
  },
};

const seen = {};
for (const [name, step] of Object.entries(steps)) seen[name] = await step();
console.log(JSON.stringify(seen));
