// A receiver of webhooks on loopback: keeps what it got, and answers as it is told.

import { createServer } from "node:http";

/** Starts it. `answers` are the next statuses, the last of them for ever. */
export async function startReceiver() {
  const receiver = { got: [], answers: [200] };
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (data) => {
      body += data;
    });
    request.on("end", () => {
      receiver.got.push({ headers: request.headers, body });
      const status = receiver.answers.length > 1 ? receiver.answers.shift() : receiver.answers[0];
      response
        .writeHead(status, { "content-type": "text/plain", connection: "close" })
        .end(status === 200 ? "thank you" : "<b>not now</b>");
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  receiver.url = `http://127.0.0.1:${server.address().port}`;
  receiver.stop = () => new Promise((resolve) => server.close(resolve));
  return receiver;
}
