// A DNS server on loopback with a table of CNAMEs: what preview domains are checked against.

import { createSocket } from "node:dgram";

const name = (text) =>
  Buffer.concat([
    ...text
      .split(".")
      .map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)])),
    Buffer.from([0]),
  ]);

function question(packet) {
  const labels = [];
  let at = 12;
  while (packet[at]) {
    labels.push(packet.toString("latin1", at + 1, at + 1 + packet[at]));
    at += packet[at] + 1;
  }
  return { host: labels.join(".").toLowerCase(), type: packet.readUInt16BE(at + 1), end: at + 5 };
}

/** Starts it; `cnames` maps a suffix, such as ".clinic.example", to its target and may be changed. */
export async function startDns(cnames) {
  const socket = createSocket("udp4");
  socket.on("message", (packet, from) => {
    const { host, type, end } = question(packet);
    const target = Object.entries(cnames).find(([suffix]) => host.endsWith(suffix))?.[1];
    const answer =
      target && type === 5
        ? Buffer.concat([
            Buffer.from([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 1]),
            Buffer.from([0, name(target).length]),
            name(target),
          ])
        : Buffer.alloc(0);
    const head = Buffer.from(packet.subarray(0, 12));
    // An answer with recursion; NXDOMAIN where there is nothing.
    head.writeUInt16BE(target ? 0x8580 : 0x8583, 2);
    head.writeUInt16BE(1, 4);
    head.writeUInt16BE(answer.length ? 1 : 0, 6);
    head.writeUInt32BE(0, 8);
    socket.send(Buffer.concat([head, packet.subarray(12, end), answer]), from.port, from.address);
  });
  await new Promise((resolve) => socket.bind(0, "127.0.0.1", resolve));
  return {
    address: `127.0.0.1:${socket.address().port}`,
    stop: () => new Promise((resolve) => socket.close(resolve)),
  };
}
