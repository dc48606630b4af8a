// What pages of two origins may do through the gateway, as Chromium decides it: one line of JSON for each scenario.
//
// Usage: node pages.mjs '{"listed": ORIGIN, "stranger": ORIGIN, "gateway": "host:port", "chromium": PATH}'

import { chromium } from "playwright-core";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

const { listed, stranger, gateway, chromium: executablePath } = JSON.parse(process.argv[2]);

// Functions of the page: they see nothing of this file but their argument.
const ask = async ([url, options]) => {
  try {
    const response = await fetch(url, options);
    const headers = Object.fromEntries(response.headers);
    return { status: response.status, headers, body: await response.text() };
  } catch (error) {
    return { error: String(error) };
  }
};

const talk = (url) =>
  new Promise((resolve) => {
    const socket = new WebSocket(url);
    socket.onopen = () => socket.send("hello");
    socket.onmessage = (message) => {
      socket.close();
      resolve({ message: message.data });
    };
    socket.onerror = () => resolve({ error: "no WebSocket" });
  });

const api = `http://${gateway}/api/orders`;
const put = { method: "PUT", headers: { "X-Token": "t", "Content-Type": "application/json" }, body: "{}" };

const scenarios = [
  ["simple", listed, ask, [api]],
  ["preflighted", listed, ask, [api, put]],
  ["method that is not allowed", listed, ask, [api, { method: "PATCH" }]],
  ["header that is not allowed", listed, ask, [api, { headers: { "X-Other": "o" } }]],
  ["credentials", listed, ask, [api, { credentials: "include" }]],
  ["refused and readable", listed, ask, [`http://${gateway}/private`]],
  ["no route and readable", listed, ask, [`http://${gateway}/nowhere`]],
  ["simple of a stranger", stranger, ask, [api]],
  ["preflighted of a stranger", stranger, ask, [api, put]],
  ["credentials of a stranger", stranger, ask, [api, { credentials: "include" }]],
  ["blind of a stranger", stranger, ask, [api, { mode: "no-cors" }]],
  ["websocket", listed, talk, `ws://${gateway}/socket`],
];

const profile = await mkdtemp(join(tmpdir(), "browser-"));
const context = await chromium.launchPersistentContext(profile, {
  executablePath,
  headless: true,
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});
try {
  const pages = {};
  for (const origin of [listed, stranger]) {
    pages[origin] = await context.newPage();
    await pages[origin].goto(origin);
  }
  // cookies do not look at ports: the gateway's page and this one share them
  await pages[listed].evaluate(() => (document.cookie = "session=s"));
  for (const [name, origin, act, argument] of scenarios) {
    console.log(JSON.stringify({ name, ...(await pages[origin].evaluate(act, argument)) }));
  }
} finally {
  await context.close();
  await rm(profile, { recursive: true, force: true });
}
