// HTTP clients that people use, on an allowed host and on one that the policy refuses.
import { createRequire } from 'node:module';
const require = createRequire('/opt/nodejs/node_modules/');
const axios = require('axios'), undici = require('undici');
const { default: got } = await import('/opt/nodejs/node_modules/got/dist/source/index.js');
const clients = {
  fetch: async (url) => (await fetch(url)).json(),
  axios: async (url) => (await axios.get(url)).data,
  got: async (url) => got(url, { retry: { limit: 2 } }).json(),
  undici: async (url) => (await undici.request(url)).body.json(),
};
const code = (error) => error.code ?? error.cause?.code ?? String(error);
export const handler = async (event) => {
  const began = Date.now(), answers = {};
  for (const [name, ask] of Object.entries(clients)) {
    answers[name] = [await ask('https://api.example.com/items')];
    if (event.refused) answers[name].push(await ask('https://other.example/').catch(code));
  }
  return [answers, Date.now() - began < 25000];
};
