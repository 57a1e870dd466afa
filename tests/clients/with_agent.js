// GET and POST in turns over one connection of http.Agent, until stdin ends. A line for each answer: its
// body, its status, the process and the client's port that it names, and the port that is the client's.
"use strict";

const http = require("node:http");
const { setTimeout: sleep } = require("node:timers/promises");

const [url, body] = process.argv.slice(2);
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

function exchange(method, content) {
  return new Promise((resolve, reject) => {
    const request = http.request(url, { method, agent }, async (response) => {
      try {
        const { localPort } = response.socket;
        let text = "";
        for await (const piece of response) text += piece;
        const { "x-pid": pid, "x-port": port } = response.headers;
        resolve(`${text} ${response.statusCode} ${pid} ${port} ${localPort}`);
      } catch (error) {
        reject(error);
      }
    });
    request.on("error", reject);
    request.end(content);
  });
}

async function main() {
  let stopped = false;
  process.stdin.resume().on("end", () => (stopped = true));
  while (!stopped) {
    await sleep(Math.random() * 20);
    console.log(await exchange("GET"));
    console.log(await exchange("POST", body));
  }
  agent.destroy();
}

main();
