/**
 * The page as deployed: opened at the address the deployment printed, talking to the gateway its `config.json` names.
 *
 * Run by scripts/emulator.py. `WEBCHAT_PAGE` is the address; `WEBCHAT_TLS` (host:port) answers in place of AWS's hosts, whose
 * names stay as they are, for the browser and for the policy it enforces. Certificates are not checked.
 */

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import https from "node:https";
import { test } from "node:test";
import { Pages, Person, comeLeaveAndCrash, flags } from "./stage.js";

const { WEBCHAT_PAGE: page, WEBCHAT_TLS: tls } = process.env;
const hosts = ["*.cloudfront.net", "*.execute-api.us-east-1.amazonaws.com", "elsewhere.example"].map((host) => `MAP ${host} ${tls}`);
flags.push("--ignore-certificate-errors", `--host-resolver-rules=${hosts.join(", ")}, MAP * ~NOTFOUND`);

const FILES = readdirSync(new URL("../../web", import.meta.url)).filter((name) => !name.startsWith("inspect"));

/** What CloudFront answers, without a browser. */
function get(path) {
  const [host, port] = tls.split(":");
  const headers = { host: new URL(page).host };
  return new Promise((resolve, reject) => {
    const request = https.get({ host, port, path, headers, rejectUnauthorized: false }, (answer) => {
      const parts = [];
      answer.on("data", (part) => parts.push(part));
      answer.on("end", () => resolve({ status: answer.statusCode, headers: answer.headers, body: Buffer.concat(parts) }));
    });
    request.on("error", reject);
  });
}

test("the deployed page is the one of web/, with its policy, and asked for anew by every browser", async () => {
  const local = readFileSync(new URL("../../local/src/page.rs", import.meta.url), "utf8");
  const own = /const POLICY: &str = "([^;]*;[^"]*)"/.exec(local)[1].replace(/\\\s+/g, "");
  const { url } = JSON.parse((await get("/config.json")).body);
  for (const name of [...FILES, ""]) {
    const { status, headers, body } = await get(`/${name}`);
    assert.equal(status, 200, name);
    assert.ok(body.equals(readFileSync(new URL(`../../web/${name || "index.html"}`, import.meta.url))), `${name} is another one`);
    assert.equal(headers["content-security-policy"], own.replace("connect-src 'self'", `connect-src 'self' wss://${new URL(url).host}`));
    assert.equal(headers["x-content-type-options"], "nosniff");
    assert.equal(headers["referrer-policy"], "no-referrer");
    assert.equal(headers["cross-origin-opener-policy"], "same-origin");
    assert.equal(headers["cross-origin-resource-policy"], "same-origin");
    assert.match(headers["strict-transport-security"], /^max-age=31536000/);
    assert.match(headers["cache-control"], /max-age=0, must-revalidate/);
  }
});

test("the deployed page learns the address from config.json, which nobody keeps; the inspect page is not there", async () => {
  const { headers, body } = await get("/config.json");
  const { url, inspect } = JSON.parse(body);
  assert.match(url, /^wss:\/\/\w+\.execute-api\.us-east-1\.amazonaws\.com\/\w+$/);
  assert.equal(inspect, false);
  assert.equal(headers["cache-control"], "no-store");
  for (const path of ["/inspect", "/inspect.html", "/inspect.js", "/inspect/log"]) assert.equal((await get(path)).status, 403, path);
});

test("two browsers chat through the deployed page, both ways, and hear what became of it", async () => {
  const pages = new Pages();
  const [ada, bob] = [await Person.join(pages, { page }), await Person.join(pages, { page })];
  await ada.say("Anybody home?");
  await bob.sees("Anybody home?");
  await ada.is("Anybody home?", "accepted");
  await bob.say("Yes, me.");
  await ada.sees("Yes, me.");
  await ada.enter(bob.name);
  await ada.say("Yo!");
  await ada.is("Yo!", "delivered");
  await bob.enter(ada.name);
  await bob.sees("Yo!");
  await bob.say("Yo yourself!");
  await ada.sees("Yo yourself!");
  await bob.is("Yo yourself!", "delivered");
  assert.deepEqual(await ada.texts(), ["Yo!", "Yo yourself!"]);
  await bob.page.close();
  await ada.page.getByText("Has left.").waitFor();
  await ada.say("Still there?");
  await ada.is("Still there?", "refused");
  await pages.close();
});

test("the deployed page's list shows who comes, who leaves and whose browser crashes", () => comeLeaveAndCrash({ page }));

test("the deployed page is let in, and a page from elsewhere is not", async () => {
  const pages = new Pages();
  const { url } = JSON.parse((await get("/config.json")).body);
  const tries = (address) => new Promise((done) => {
    const socket = new WebSocket(address);
    socket.onopen = () => done("open");
    socket.onerror = () => done("refused");
  });
  const own = await pages.open(page);
  assert.equal(await own.evaluate(tries, url), "open");
  const elsewhere = await pages.open("about:blank");
  await elsewhere.route("https://elsewhere.example/", (route) => route.fulfill({ contentType: "text/html", body: "<title>elsewhere</title>" }));
  await elsewhere.goto("https://elsewhere.example/");
  assert.equal(await elsewhere.evaluate(tries, url), "refused");
  await pages.close({ allow: /WebSocket/ });
});
