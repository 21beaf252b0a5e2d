/** The chat page, as people use it: two and more browsers against a real `webchat local`. */

import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { after, before, test } from "node:test";
import { Pages, Person, Server, comeLeaveAndCrash, folder, until } from "./stage.js";

let server;
before(async () => (server = await Server.start()));
after(() => server?.kill());

test("two people talk to everyone and to each other, both ways, and hear what became of it", async () => {
  const pages = new Pages();
  const [ada, bob] = [await Person.join(pages, server), await Person.join(pages, server)];
  await ada.say("Anybody home?");
  await bob.sees("Anybody home?");
  await ada.is("Anybody home?", "accepted");
  await bob.say("Yes, me.");
  await ada.sees("Yes, me.");
  assert.deepEqual(await ada.texts(), ["Anybody home?", "Yes, me."]);
  const time = ada.message("Yes, me.").locator("time").last();
  const said = new Date(await time.getAttribute("datetime"));
  const there = new Intl.DateTimeFormat("en-US", { hour: "2-digit", minute: "2-digit", timeZone: "Europe/Berlin" });
  assert.equal(await time.textContent(), there.format(said), "the time where the reader is");
  assert.deepEqual(await bob.texts(), ["Anybody home?", "Yes, me."]);
  await ada.enter(bob.name);
  await ada.say("Yo!");
  await ada.is("Yo!", "delivered");
  await bob.enter(ada.name);
  await bob.sees("Yo!");
  await bob.say("Yo yourself!");
  await ada.sees("Yo yourself!");
  assert.deepEqual(await ada.texts(), ["Yo!", "Yo yourself!"]);
  await pages.close();
});

test("the list shows who comes, who leaves and whose browser crashes", () => comeLeaveAndCrash(server));

test("someone new who speaks is in the list at once", async () => {
  const pages = new Pages();
  const ada = await Person.join(pages, server);
  await ada.page.clock.install(); // the regular look at the list, every 4 s, stands still from here on
  await ada.page.clock.pauseAt(Date.now() + 60_000);
  const bob = await Person.join(pages, server);
  await bob.say("I am new here");
  await ada.page.locator("#heard").getByText("I am new here").waitFor({ state: "attached" });
  for (let millis = 0; (await ada.present(bob.name).count()) === 0; millis += 20) {
    assert.ok(millis < 3_000, "it waited for the regular look");
    await ada.page.clock.runFor(20); // for animation frames
    await bob.page.evaluate(() => new Promise(requestAnimationFrame));
  }
  await pages.close();
});

test("unread messages are counted where they came in, and in the title", async () => {
  const pages = new Pages();
  const [ada, bob] = [await Person.join(pages, server), await Person.join(pages, server)];
  await bob.enter(ada.name);
  await bob.say("one");
  await bob.say("two");
  await ada.present(ada.name).waitFor();
  const badge = ada.page.locator("#present .person, #gone .person").filter({ hasText: bob.name }).locator(".badge");
  await badge.getByText("2").waitFor();
  await until(ada.page, async () => (await ada.page.title()) === "(2) webchat", "the number in the title");
  await ada.enter(bob.name);
  await badge.waitFor({ state: "detached" });
  await until(ada.page, async () => (await ada.page.title()) === "webchat", "the title without it");
  await pages.close();
});

test("after a restart nothing accepted has vanished or doubled, what is unconfirmed says so, and unsent text is kept", async () => {
  const data = folder();
  const own = await Server.start({ data });
  const pages = new Pages();
  const [ada, bob] = [await Person.join(pages, own), await Person.join(pages, own)];
  for (const text of ["first", "second", "third"]) {
    await ada.say(text);
    await ada.is(text, "accepted");
    await bob.sees(text);
  }
  own.signal("SIGSTOP"); // it takes nothing any more, and nobody has noticed
  await ada.say("into the void");
  await ada.is("into the void", "sending");
  await own.kill();
  await ada.is("into the void", "unconfirmed");
  await ada.page.locator("#state[data-state=waiting]").waitFor();
  await ada.say("not sent yet");
  assert.equal(await ada.box.inputValue(), "not sent yet");
  assert.match(await ada.page.locator("#problem").textContent(), /Your text is kept/);

  await own.again();
  for (const person of [ada, bob]) {
    await person.page.locator("#retry").click({ timeout: 2_000 }).catch(() => {}); // it may have tried by itself
    await person.connected();
  }
  assert.equal(await ada.box.inputValue(), "not sent yet");
  await ada.box.press("Enter");
  await bob.sees("not sent yet");
  await ada.is("not sent yet", "accepted");
  // Had it been sent again by itself, it would have come before this one.
  assert.equal(await bob.message("into the void").count(), 0);
  assert.deepEqual(await ada.texts(), ["first", "second", "third", "into the void", "not sent yet"]);
  assert.equal(await ada.message("into the void").getAttribute("data-status"), "unconfirmed");

  await ada.page.getByRole("button", { name: "Send again" }).click();
  await bob.sees("into the void");
  await ada.is("into the void", "accepted");
  assert.deepEqual(await ada.texts(), ["first", "second", "third", "not sent yet", "into the void"]);
  assert.deepEqual((await bob.texts()).sort(), ["first", "into the void", "not sent yet", "second", "third"]);
  await own.kill();
  await pages.close({ allow: /ERR_CONNECTION_REFUSED|WebSocket/ });
  rmSync(data, { recursive: true, force: true });
});

/** A page whose frames a test may hold back, change or make up; the server behind it is the real one. */
async function tapped(pages, { fromServer = (_, pass) => pass() } = {}) {
  const tap = {};
  const beforeLoad = async (page) => {
    await page.clock.install(); // runs on, but can be put forward
    await page.routeWebSocket(/local$/, (socket) => tapInto(socket));
  };
  const tapInto = (socket) => {
    const real = socket.connectToServer();
    Object.assign(tap, { socket, real, sent: (tap.sent ?? []), sockets: (tap.sockets ?? 0) + 1 });
    socket.onMessage((text) => {
      tap.sent.push(JSON.parse(text));
      real.send(text);
    });
    real.onMessage((text) => fromServer(JSON.parse(text), () => socket.send(text)));
  };
  tap.person = await Person.join(pages, server, { before: beforeLoad });
  return tap;
}

test("an own message shows at once as being sent, and is one message though its push comes before its answer", async () => {
  const pages = new Pages();
  const held = [];
  const { person } = await tapped(pages, { fromServer: (frame, pass) => (frame.type === "accepted" ? held.push(pass) : pass()) });
  const other = await Person.join(pages, server);
  await person.enter(other.name);
  await person.say("slow");
  await person.is("slow", "sending");
  await until(person.page, () => held.length > 0, "the answer on its way");
  held.shift()();
  await person.is("slow", "delivered");
  await person.lobby();
  await person.say("fast");
  await person.is("fast", "accepted"); // by its push alone
  held.forEach((pass) => pass());
  await person.say("next");
  await person.is("next", "accepted");
  assert.deepEqual(await person.texts(), ["fast", "next"]);
  await pages.close();
});

test("two messages of the same text stay two, whatever comes first", async () => {
  const pages = new Pages();
  const held = [];
  let holding = true;
  const hold = (frame, pass) => (holding && ["accepted", "broadcast"].includes(frame.type) ? held.push({ ...frame, pass }) : pass());
  const { person } = await tapped(pages, { fromServer: hold });
  for (const order of [["push 2", "answer 2", "answer 1", "push 1"], ["push 2", "answer 1", "answer 2", "push 1"], ["push 1", "push 2", "answer 1", "answer 2"]]) {
    const text = order.join(", ");
    held.length = 0;
    await person.say(text);
    await person.say(text);
    await until(person.page, () => held.length === 4, "both answers and both pushes");
    const ids = held.filter(({ type }) => type === "accepted").sort((a, b) => a.ref - b.ref).map(({ id }) => id);
    for (const step of order) {
      const [type, number] = step.split(" ");
      held.find((frame) => frame.type === (type === "push" ? "broadcast" : "accepted") && frame.id === ids[number - 1]).pass();
    }
    await until(person.page, async () => (await person.page.locator("#list > li[data-status=accepted]").filter({ hasText: text }).count()) === 2, text);
    assert.equal(await person.message(text).count(), 2);
  }
  holding = false;
  await person.say("end");
  await person.is("end", "accepted");
  assert.equal((await person.texts()).length, 7);
  await pages.close();
});

test("a message whose answer was lost but that was recorded is not sent twice by itself", async () => {
  const pages = new Pages();
  const lost = (frame) => ["accepted", "broadcast"].includes(frame.type);
  let losing = true;
  const tap = await tapped(pages, { fromServer: (frame, pass) => (losing && lost(frame) ? null : pass()) });
  const bob = await Person.join(pages, server);
  await tap.person.say("did it arrive?");
  await bob.sees("did it arrive?");
  losing = false;
  const [before, sent] = [tap.sockets, tap.sent.length];
  await tap.real.close();
  await tap.socket.close();
  await tap.person.is("did it arrive?", "unconfirmed");
  await until(bob.page, () => tap.sockets > before, "another connection");
  await tap.person.connected();
  await tap.person.say("after");
  await bob.sees("after");
  await tap.person.page.clock.fastForward("30:00"); // time enough for whatever it might do by itself
  await tap.person.say("much later");
  await bob.sees("much later");
  const said = tap.sent.slice(sent).filter(({ action }) => action === "broadcast").map(({ message }) => message);
  assert.deepEqual(said, ["after", "much later"]);
  assert.equal(await bob.message("did it arrive?").count(), 1);
  await pages.close();
});

test("a message that did not arrive says why", async () => {
  const pages = new Pages();
  const undelivered = (frame, pass, socket) => (frame.type === "receipt" ? socket().send(JSON.stringify({ ...frame, status: "undeliverable", reason: "gone" })) : pass());
  let tap;
  tap = await tapped(pages, { fromServer: (frame, pass) => undelivered(frame, pass, () => tap.socket) });
  const bob = await Person.join(pages, server);
  await tap.person.enter(bob.name);
  await tap.person.say("hello?");
  await tap.person.is("hello?", "undeliverable");
  await tap.person.page.getByText(`Not delivered: ${bob.name} is no longer there`).waitFor();
  await bob.page.close();
  await tap.person.page.getByText("has left").waitFor();
  await tap.person.say("still there?");
  await tap.person.is("still there?", "refused");
  await tap.person.page.getByText(`Not sent: ${bob.name} is not here any more`).waitFor();
  await pages.close();
});

test("a frame that cannot be read is shown as such, and the page goes on", async () => {
  const pages = new Pages();
  const { person, socket } = await tapped(pages);
  const broken = ["<img src=x onerror=alert(1)>", "[1,2", "null", "7", "{}", '{"type":5}', '{"type":"broadcast","id":"x"}',
    '{"type":"chat","id":"a","at":"never","from":"x","to":"y","message":"z"}', '{"type":"connections","connections":{}}'];
  for (const text of broken) socket.send(text);
  socket.send('{"type":"a-type-of-the-future","id":"1"}'); // passed over: the protocol may grow
  socket.send('{"message":"Internal server error","connectionId":"x","requestId":"y"}');
  await person.page.getByText("cannot read").nth(broken.length - 1).waitFor();
  assert.equal(await person.page.getByText("cannot read").count(), broken.length);
  assert.deepEqual(await person.page.locator("#list code").first().textContent(), broken[0]);
  await person.say("still works");
  await person.is("still works", "accepted");
  await pages.close();
});

test("what strangers write stays text", async () => {
  const pages = new Pages();
  const [ada, mallory] = [await Person.join(pages, server), await Person.join(pages, server)];
  const attacks = [
    `<img src=x onerror="window.pwned=1">`,
    `<script>window.pwned=1</script>`,
    `<svg onload=window.pwned=1><a href="javascript:window.pwned=1">click</a>`,
    `javascript:window.pwned=1`,
    `"><iframe srcdoc="<script>parent.pwned=1</script>">`,
    `<style>*{display:none}</style>{{constructor.constructor('window.pwned=1')()}}`,
    `\u202Egnp.exe\u202C \u2066\u202E evil \u2069 \u200F right`,
    `__proto__`,
    `&lt;b&gt; &#x3c;img&#x3e;`,
  ];
  for (const attack of attacks) {
    await mallory.say(attack);
    await mallory.is(attack, "accepted");
  }
  await ada.sees(attacks.at(-1));
  for (const person of [ada, mallory]) {
    assert.deepEqual(await person.texts(), attacks);
    assert.equal(await person.page.locator("#list :is(img, script, svg, a, iframe, style, b)").count(), 0);
    assert.equal(await person.page.evaluate(() => window.pwned), undefined);
    assert.equal(await person.page.evaluate(() => getComputedStyle(document.querySelector("#list .text")).unicodeBidi), "isolate");
  }
  // The policy would have refused it anyway, even from the page's own scripts.
  const refused = await ada.page.evaluate(() => {
    try {
      document.body.insertAdjacentHTML("beforeend", "<img src=x>");
      return false;
    } catch (error) {
      return error.name;
    }
  });
  assert.equal(refused, "TypeError");
  await pages.close({ allow: /TrustedHTML/ });
});

test("everything can be done by keyboard, and the focus is always to be seen", async () => {
  const pages = new Pages();
  const [ada, bob] = [await Person.join(pages, server), await Person.join(pages, server)];
  await ada.present(bob.name).waitFor();
  const { keyboard } = ada.page;
  const focused = () => ada.page.evaluate(() => {
    const { id, textContent, tagName } = document.activeElement;
    const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
    if (tagName === "BODY") return { seen: true }; // the browser's own controls
    return { id, text: textContent.trim(), seen: outlineStyle !== "none" && parseFloat(outlineWidth) >= 2 };
  });
  const tabTo = async (there) => {
    for (let step = 0; step < 20; step++) {
      await keyboard.press("Tab");
      const at = await focused();
      assert.ok(at.seen, `no focus to be seen on ${JSON.stringify(at)}`);
      if (there(at)) return;
    }
    assert.fail("not reached with Tab");
  };
  await tabTo(({ text }) => text === "Skip to writing");
  await keyboard.press("Enter");
  await keyboard.type("by keyboard");
  await keyboard.press("Shift+Enter");
  await keyboard.type("two lines");
  await keyboard.press("Enter");
  await bob.sees("by keyboard\ntwo lines");
  await ada.page.evaluate(() => document.activeElement.blur());
  await tabTo(({ text }) => text?.includes(bob.name));
  await keyboard.press("Enter");
  await ada.page.locator("#title").getByText(bob.name).waitFor();
  assert.equal((await focused()).id, "text");
  await keyboard.type("only you");
  await tabTo(({ id }) => id === "send");
  await keyboard.press("Space");
  await ada.is("only you", "delivered");
  await tabTo(({ id }) => id === "lobby");
  await keyboard.press("Space");
  await keyboard.press("Shift+Tab");
  assert.equal((await focused()).id, "messages");
  await pages.close();
});

test("on a small screen the list of people opens, takes the focus and gives it back", async () => {
  const pages = new Pages();
  const ada = await Person.join(pages, server, { viewport: { width: 320, height: 568 } });
  await ada.page.locator("#show-people").press("Enter");
  assert.equal(await ada.page.evaluate(() => document.activeElement.id), "lobby");
  await ada.page.keyboard.press("Escape");
  assert.equal(await ada.page.evaluate(() => document.activeElement.id), "show-people");
  await ada.page.locator("#people").waitFor({ state: "hidden" });
  const wide = await ada.page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(wide <= 320, `it is ${wide} px wide`);
  await pages.close();
});

test("of 5,000 messages, out of order and repeated, all can be read in order and few are in the page", async () => {
  const COUNT = 5_000;
  const pages = new Pages();
  const { person, socket } = await tapped(pages);
  const { page } = person;
  const at = Date.now() - COUNT * 1000;
  const push = (n) => {
    const millis = at + n * 1000;
    const time = millis.toString(16).padStart(12, "0");
    const id = `${time.slice(0, 8)}-${time.slice(8)}-7000-8000-${String(n).padStart(12, "0")}`;
    const message = `message ${n} ${"with more words ".repeat(n % 7)}`.trim();
    socket.send(JSON.stringify({ type: "broadcast", id, at: new Date(millis).toISOString(), from: `Stranger-${n % 5}===`, message }));
  };
  const order = [...Array(COUNT).keys()];
  for (let n = 0; n + 10 < COUNT; n += 10) order.splice(n, 10, ...order.slice(n, n + 10).reverse());
  for (const n of order) {
    push(n);
    if (n % 50 === 0) push(n); // at least once
  }
  const shown = () => page.locator("#list > li").count();
  const numbers = async () => (await person.texts()).map((text) => Number(text.split(" ")[1]));
  await page.locator(`#list > li[aria-setsize="${COUNT}"]`).first().waitFor();
  await until(page, async () => (await numbers()).at(-1) === COUNT - 1, "the last one at the end");
  let most = await shown();
  const seen = new Set();
  await page.locator("#messages").focus();
  // From the end to the beginning, a screen at a time; every one comes by.
  for (let top = Infinity; ; ) {
    const all = await numbers();
    all.forEach((n) => seen.add(n));
    assert.deepEqual(all, [...new Set(all)].sort((a, b) => a - b), "in order, each once");
    most = Math.max(most, await shown());
    const next = await page.evaluate(() => {
      const messages = document.getElementById("messages");
      messages.scrollTop -= messages.clientHeight;
      return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(messages.scrollTop))));
    });
    if (next === 0 && top === 0) break;
    top = next;
  }
  assert.equal(seen.size, COUNT);
  assert.equal(await page.locator("#list > li").first().getAttribute("aria-setsize"), String(COUNT));
  assert.ok(most < 120, `${most} messages were in the page`);
  await page.keyboard.press("End");
  await until(page, async () => (await numbers()).at(-1) === COUNT - 1, "the end again");
  const scrollTop = () => page.evaluate(() => document.getElementById("messages").scrollTop);
  // A key moves by most of a screen, smoothly: nothing holds it back on its way.
  const [end, screen] = [await scrollTop(), await page.evaluate(() => document.getElementById("messages").clientHeight)];
  for (let pages = 1; pages <= 3; pages++) {
    await page.keyboard.press("PageUp");
    await until(page, async () => end - (await scrollTop()) > (pages - 0.5) * screen, `page ${pages} up`);
  }
  await page.keyboard.press("Home");
  await until(page, async () => (await numbers())[0] === 0 && (await scrollTop()) === 0, "the beginning");
  await page.keyboard.press("End");
  await until(page, async () => (await numbers()).at(-1) === COUNT - 1, "the end once more");
  await pages.close();
});

test("it pings before the idle limit, and changes to a new connection before the 2-hour limit without missing anything", async () => {
  const pages = new Pages();
  const sockets = [];
  const watch = async (page) => {
    await page.clock.install();
    page.on("websocket", (socket) => {
      const seen = { closed: false, sent: [] };
      sockets.push(seen);
      socket.on("framesent", ({ payload }) => seen.sent.push(JSON.parse(payload).action));
      socket.on("close", () => (seen.closed = true));
    });
  };
  const ada = await Person.join(pages, server, { before: watch });
  await ada.say("before");
  await ada.is("before", "accepted");
  // The page's own look at the list would keep it busy; hidden, it only pings.
  await ada.page.evaluate(() => {
    Object.defineProperty(document, "hidden", { get: () => true });
  });
  await ada.page.clock.fastForward("04:30");
  await until(ada.page, () => sockets[0].sent.includes("ping"), "a ping");
  const before = ada.name;
  await ada.page.clock.fastForward("01:57:00");
  await until(ada.page, () => sockets.length === 2 && sockets[0].closed, "another connection and the end of the first");
  await until(ada.page, async () => (await ada.state.textContent()) !== `Connected as ${before}`, "a new name");
  // On a slow machine the jump passes the deadline of a ping's answer as well, and the page has to take that for a loss.
  await ada.page.getByText(/Your name is \S+ now/).waitFor();
  assert.deepEqual(await ada.texts(), ["before"]);
  await pages.close();
});

test("a page costs under 60 KB, asks nobody else for anything, and does not jump about", async () => {
  const pages = new Pages();
  for (const path of ["", "inspect"]) {
    let bytes = 0;
    const others = [];
    const bodies = [];
    const own = await Server.start();
    const watch = async (page) => {
      page.on("response", (response) => bodies.push(response.body().then((body) => (bytes += body.length), () => {})));
      page.on("request", (request) => new URL(request.url()).origin === new URL(own.page).origin || others.push(request.url()));
      await page.addInitScript(() => {
        window.jumps = 0;
        new PerformanceObserver((list) => list.getEntries().forEach(({ value }) => (window.jumps += value))).observe({ type: "layout-shift", buffered: true });
      });
    };
    const page = await pages.open(own.page + path, { before: watch });
    await page.locator("#state[data-state=open]").waitFor();
    if (path === "") await page.locator("#present .person").first().waitFor();
    await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
    assert.ok(bytes > 10_000 && bytes < 60_000, `${path || "chat"}: ${bytes} bytes`);
    assert.deepEqual(others, []);
    const jumps = await page.evaluate(() => window.jumps);
    assert.ok(jumps < 0.02, `${path || "chat"} jumped by ${jumps}`);
    await page.close();
    await own.kill();
  }
  await pages.close();
});
