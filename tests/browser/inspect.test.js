/** The inspect page: what happened, what follows from it, and who may look. */

import assert from "node:assert/strict";
import { readFileSync, rmSync } from "node:fs";
import http from "node:http";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Pages, Person, Server, folder, until } from "./stage.js";

let server;
before(async () => (server = await Server.start()));
after(() => server?.kill());

async function inspect(pages, on = server, options) {
  const page = await pages.open(`${on.page}inspect`, options);
  await page.locator("#state[data-state=open]").waitFor();
  return page;
}

/** An event of the log, by what it says. */
const event = (page, text) => page.locator("#events button").filter({ hasText: text });
const rows = (page) => page.locator("#rows .card");

test("the slider shows who was here at any moment, as the events make it", async () => {
  const own = await Server.start();
  const pages = new Pages();
  const page = await inspect(pages, own);
  await page.getByText("Nobody is here.").waitFor();
  const ada = await Person.join(pages, own);
  await ada.say("first words");
  const bob = await Person.join(pages, own);
  await bob.page.close();
  await event(page, `${bob.name} left`).waitFor();
  await page.getByText(/Worked out again from all \d+ events: the same\./).waitFor();
  await page.getByText("1 here, 1 gone").waitFor();

  const slider = page.locator("#slider");
  const last = Number(await slider.getAttribute("max"));
  const at = async (count) => {
    await slider.fill(String(count));
    await page.getByText(count === last ? "As kept by the chat." : count === 0 ? "Before the first event." : `the first ${count} event`).waitFor();
    const cards = await rows(page).allTextContents();
    return Object.fromEntries(cards.map((text) => [text.slice(2, 8), /here|just came/.test(text.slice(-9))]));
  };
  assert.deepEqual(await at(0), {});
  assert.deepEqual(await at(1), { [ada.name]: true });
  const told = await page.locator("#events .row .tells").allTextContents();
  const came = told.findIndex((text) => text.includes(`${bob.name} came`)) + 1;
  const left = told.findIndex((text) => text.includes(`${bob.name} left`)) + 1;
  assert.deepEqual(await at(came - 1), { [ada.name]: true });
  assert.deepEqual(await at(came), { [ada.name]: true, [bob.name]: true });
  assert.equal(left, last);
  await at(came);
  // Stays at its moment while the log grows.
  await ada.say("more words");
  await event(page, "more words").waitFor();
  await event(page, "sent out to 1 connection").nth(1).waitFor();
  assert.equal(await slider.inputValue(), String(came));
  assert.match(await event(page, "more words").getAttribute("class"), /later/);
  await page.getByRole("button", { name: "Now" }).click();
  await page.getByText("As kept by the chat.").waitFor();
  await pages.close();
  await own.kill();
});

test("dragged with the mouse, each step says what it changes, and the log shows what has not happened yet", async () => {
  const own = await Server.start();
  const pages = new Pages();
  const [ada, bob] = [await Person.join(pages, own), await Person.join(pages, own)];
  await ada.say("not a change");
  await bob.sees("not a change");
  await bob.page.close();
  const page = await inspect(pages, own);
  await event(page, `${bob.name} left`).waitFor();
  await event(page, "sent out to 2 connections").waitFor();
  const count = Number(await page.locator("#slider").getAttribute("max"));
  const numbers = await page.locator("#events .number").allTextContents();
  assert.deepEqual(numbers, Array.from({ length: count }, (_, index) => String(index + 1)));
  const told = await page.locator("#events .tells").allTextContents();
  const place = (text) => told.findIndex((one) => one.includes(text)) + 1;
  const { x, y, width, height } = await page.locator("#slider").boundingBox();
  const middle = y + height / 2;
  const dragTo = (number) => page.mouse.move(x + 12 + (number / count) * (width - 24), middle, { steps: 4 });
  await dragTo(count);
  await page.mouse.down();
  for (const [text, effect] of [
    [`${bob.name} left`, `took ${bob.name} off it.`],
    ["not a change", "changes nothing here."],
    [`${bob.name} came`, `put ${bob.name} on the list.`],
    [`${ada.name} came`, `put ${ada.name} on the list.`],
  ]) {
    const number = place(text);
    await dragTo(number);
    if (number === count) {
      await page.getByText("As kept by the chat.").waitFor();
      continue;
    }
    await page.getByText(`Event ${number} ${effect}`).waitFor();
    assert.equal(await page.locator("#events .later").count(), count - number);
    const cut = page.locator("#events > li").filter({ hasText: "What follows has not happened yet." });
    assert.equal(await cut.locator(".number").textContent(), String(number));
  }
  await dragTo(0);
  await page.getByText("Nobody was here yet.").waitFor();
  await page.mouse.up();
  await pages.close();
  await own.kill();
});

test("one message is highlighted along its whole way, with the time at each step", async () => {
  const pages = new Pages();
  const page = await inspect(pages);
  const [ada, bob] = [await Person.join(pages, server), await Person.join(pages, server)];
  await ada.enter(bob.name);
  await ada.say("follow me");
  await ada.is("follow me", "delivered");
  await event(page, "follow me").click();
  const steps = page.locator("#way li");
  const titles = () => steps.locator("strong").allTextContents();
  const whole = ["Frame", "Event", "Notice", "Push", "Outcome", "Notice", "Push"];
  await until(page, async () => (await titles()).length === whole.length, "all steps");
  assert.deepEqual(await titles(), whole);
  const text = await page.locator("#way").textContent();
  for (const part of ["MessageSent is in the log", "chat is on the bus", `chat to ${bob.name}: taken`, "MessageDelivered is in the log", `receipt to ${ada.name}: taken`]) {
    assert.ok(text.includes(part), `${part} in ${text}`);
  }
  const times = (await steps.locator(".after").allTextContents()).slice(1).map((after) => Number(/^\+([\d.]+) ms$/.exec(after)[1]));
  assert.deepEqual(times, [...times].sort((a, b) => a - b));
  for (const [list, count] of [["#events", 2], ["#bus", 2], ["#pushes", 2]]) {
    assert.equal(await page.locator(`${list} .traced`).count(), count, list);
  }
  // Whoever comes later finds the same.
  const later = await inspect(pages);
  await event(later, "follow me").click();
  await until(later, async () => (await later.locator("#way li").count()) === whole.length, "all steps on a page opened later");
  await pages.close();
});

test("what is said is only text here, too", async () => {
  const pages = new Pages();
  const ada = await Person.join(pages, server);
  const attack = `<img src=x onerror="window.pwned=1">`;
  await ada.say(attack);
  const page = await inspect(pages);
  await event(page, attack).waitFor();
  assert.equal(await page.locator("main :is(img, script)").count(), 0);
  assert.equal(await page.evaluate(() => window.pwned), undefined);
  await pages.close();
});

test("what is parked is shown, and after a restart the page goes on by itself", async () => {
  const data = folder();
  const own = await Server.start({ data });
  const pages = new Pages();
  const page = await inspect(pages, own);
  await page.getByText("Nothing. All is well.").waitFor();
  const { aws } = JSON.parse(readFileSync(join(data, "lock")));
  const item = { stream: { S: "conversation#lobby" }, id: { S: "not-an-id" }, type: { S: "MessageBroadcast" } };
  const headers = { "x-amz-target": "DynamoDB_20120810.PutItem", authorization: "anything" };
  const put = await fetch(aws, { method: "POST", headers, body: JSON.stringify({ TableName: "webchat-local-events", Item: item }) });
  assert.equal(put.status, 200);
  await page.locator("#parked").getByText("conversation#lobby not-an-id").waitFor();
  await own.kill();
  await page.locator("#state[data-state=waiting]").waitFor();
  await own.again();
  await page.locator("#state[data-state=open]").waitFor();
  const ada = await Person.join(pages, own);
  await event(page, `${ada.name} came`).waitFor();
  await pages.close({ allow: /ERR_|Failed to load/ });
  await own.kill();
  rmSync(data, { recursive: true, force: true });
});

test("the slider, the steps and the events work by keyboard", async () => {
  const pages = new Pages();
  const ada = await Person.join(pages, server);
  await ada.say("by keyboard");
  await ada.is("by keyboard", "accepted");
  const page = await inspect(pages);
  await event(page, "by keyboard").waitFor();
  const { keyboard } = page;
  const id = () => page.evaluate(() => document.activeElement.id);
  await keyboard.press("Tab");
  await keyboard.press("Enter");
  await page.locator("#slider").press("Home");
  await page.getByText("Nobody was here yet.").waitFor();
  await keyboard.press("ArrowRight");
  await page.getByText("the first 1 event").waitFor();
  assert.match(await page.locator("#slider").getAttribute("aria-valuetext"), /After 1 of .* came/);
  for (const button of ["back", "forth", "now"]) {
    await keyboard.press("Tab");
    assert.equal(await id(), button);
  }
  await keyboard.press("Enter");
  await page.getByText("As kept by the chat.").waitFor();
  await keyboard.press("Tab");
  assert.equal(await id(), "log");
  await keyboard.press("Tab");
  await keyboard.press("Enter");
  await page.locator("#events [aria-pressed=true]:focus").waitFor();
  await pages.close();
});

test("the endpoints answer this machine alone, and only reading", async () => {
  const { hostname, port } = new URL(server.page);
  const ask = (headers, { path = "/inspect/view", method = "GET" } = {}) =>
    new Promise((resolve, reject) => {
      const request = http.request({ hostname, port, path, method, headers: { host: `127.0.0.1:${port}`, ...headers } }, (answer) => {
        answer.resume();
        resolve(answer.statusCode);
      });
      request.on("error", reject).end();
    });
  for (const path of ["/inspect/log", "/inspect/view", "/inspect/parked", "/inspect/feed?after=999999"]) {
    assert.equal(await ask({}, { path }), 200, path);
    assert.equal(await ask({ host: "evil.example" }, { path }), 403, path);
  }
  assert.equal(await ask({ origin: "https://evil.example" }), 403);
  assert.equal(await ask({ origin: `http://127.0.0.1:${port}` }), 200);
  assert.equal(await ask({ "sec-fetch-site": "cross-site" }), 403);
  assert.equal(await ask({ "x-forwarded-for": "192.0.2.1" }), 403);
  for (const method of ["POST", "PUT", "DELETE"]) assert.equal(await ask({}, { method }), 405, method);
});

test("another site's page learns nothing", async () => {
  const site = http.createServer((_, answer) => answer.setHeader("content-type", "text/html").end("<title>elsewhere</title>"));
  await new Promise((listening) => site.listen(0, "127.0.0.1", listening));
  const pages = new Pages();
  const page = await pages.open(`http://127.0.0.1:${site.address().port}/`);
  const outcome = await page.evaluate(async (base) => {
    const tries = ["inspect/log", "inspect/view", "config.json"].map((path) => fetch(base + path).then(() => "read", () => "refused"));
    const socket = new WebSocket(base.replace("http", "ws") + "local");
    tries.push(new Promise((done) => {
      socket.onopen = () => done("open");
      socket.onerror = () => done("refused");
    }));
    return Promise.all(tries);
  }, server.page);
  assert.deepEqual(outcome, ["refused", "refused", "refused", "refused"]);
  await pages.close({ allow: /./ });
  site.close();
});
