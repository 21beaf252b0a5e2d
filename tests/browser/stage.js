/**
 * What the browser tests play on: a real `webchat local` and a real Chromium, both ended with the test file.
 *
 * Nothing here sleeps: every wait is for something to be there. `CHROME_PATH` names a browser where the usual places have
 * none. Each test gets pages of its own, in contexts of their own, and fails on any error a page reports.
 */

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after } from "node:test";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const PLACES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"].map((name) => `/usr/bin/${name}`);
const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--force-prefers-reduced-motion", "--lang=en-US",
];
/** Turns a hang into a failure; never reached when all is well. */
export const PATIENCE = 30_000;

export const folder = (name = "webchat-") => mkdtempSync(join(tmpdir(), name));

/** The program under test: built here, unless `WEBCHAT_BINARY` names one. */
let binary = process.env.WEBCHAT_BINARY;

function build() {
  const { status } = spawnSync("cargo", ["build", "-q", "--bin", "webchat"], { cwd: ROOT, stdio: "inherit" });
  assert.equal(status, 0, "webchat did not compile");
  return join(ROOT, "target/debug/webchat");
}

/** `webchat local`, in memory or on a folder. */
export class Server {
  static #all = new Set();

  static async start({ data = null, port = 0 } = {}) {
    binary ??= build();
    const server = new Server();
    server.data = data;
    await server.#run(port);
    Server.#all.add(server);
    return server;
  }

  static endAll() {
    for (const server of Server.#all) server.kill();
  }

  async #run(port) {
    const where = this.data ? ["--data", this.data] : ["--memory"];
    this.process = spawn(binary, ["local", "--port", String(port), ...where], { stdio: ["ignore", "pipe", "inherit"] });
    this.ended = new Promise((resolve) => this.process.on("exit", resolve));
    for await (const line of createInterface({ input: this.process.stdout })) {
      const [, page] = /^page\s+(\S+)$/.exec(line) ?? [];
      if (page) return void (this.page = page);
    }
    throw new Error("webchat local ended before it said where its page is");
  }

  signal(name) {
    this.process.kill(name);
  }

  async kill() {
    this.process.kill("SIGKILL");
    await this.ended;
  }

  /** Again, at the same address and with the same data. */
  async again() {
    await this.#run(Number(new URL(this.page).port));
  }
}

let browser = null;
/** More of the browser's flags; to be added before the first page opens. */
export const flags = [];
const profile = folder("webchat-browser-");
after(async () => {
  await browser?.close();
  Server.endAll();
  rmSync(profile, { recursive: true, force: true });
});

async function launch() {
  const executablePath = process.env.CHROME_PATH ?? PLACES.find((place) => existsSync(place));
  assert.ok(executablePath, "no browser: install chromium, or name one in CHROME_PATH");
  // A home of its own: fonts, caches and crash reports go there, too.
  return chromium.launch({ executablePath, args: [...FLAGS, ...flags], headless: true, env: { ...process.env, HOME: profile } });
}

/** Pages of one test. Call `close` at its end: it says what the pages complained about. */
export class Pages {
  #contexts = [];
  complaints = [];

  async open(url, { before = async () => {}, ...options } = {}) {
    browser ??= await launch();
    const context = await browser.newContext({ viewport: { width: 1000, height: 700 }, locale: "en-US", timezoneId: "Europe/Berlin", ...options });
    this.#contexts.push(context);
    context.setDefaultTimeout(PATIENCE);
    const page = await context.newPage();
    page.on("pageerror", (error) => this.complaints.push(String(error.stack)));
    page.on("console", (message) => message.type() === "error" && this.complaints.push(message.text()));
    page.on("dialog", (dialog) => this.complaints.push(`a dialog: ${dialog.message()}`));
    await before(page);
    await page.goto(url);
    return page;
  }

  async close({ allow = null } = {}) {
    for (const context of this.#contexts) await context.close();
    const left = this.complaints.filter((text) => !allow?.test(text));
    assert.deepEqual(left, [], "a page complained");
  }
}

/** Somebody in the chat: their page, and what a person does with it. */
export class Person {
  static async join(pages, server, options) {
    const person = new Person(await pages.open(server.page, options));
    await person.connected();
    return person;
  }

  constructor(page) {
    this.page = page;
    this.box = page.locator("#text");
    this.state = page.locator("#state-text");
  }

  async connected() {
    await this.page.locator("#state[data-state=open]").waitFor();
    this.name = (await this.state.textContent()).replace("Connected as ", "");
  }

  async say(text) {
    await this.box.fill(text);
    await this.box.press("Enter");
  }

  /** The messages that show exactly this text. */
  message(text) {
    return this.page.locator("#list > li").filter({ has: this.page.getByText(text, { exact: true }) });
  }

  async sees(text) {
    await this.message(text).first().waitFor();
  }

  /** Waits until the message has the status. */
  async is(text, status) {
    await this.message(text).and(this.page.locator(`[data-status="${status}"]`)).waitFor();
  }

  /** The entry of somebody who is here. */
  present(name) {
    return this.page.locator("#present .person").filter({ hasText: name });
  }

  async enter(name) {
    await this.present(name).click();
    await this.page.locator("#title").getByText(name, { exact: true }).waitFor();
  }

  async lobby() {
    await this.page.locator("#lobby").click();
  }

  texts() {
    return this.page.locator("#list .text").allTextContents();
  }
}

/** Somebody comes, somebody leaves and somebody's browser crashes; another watches the list. */
export async function comeLeaveAndCrash(server) {
  const pages = new Pages();
  const ada = await Person.join(pages, server);
  const [bob, eve] = [await Person.join(pages, server), await Person.join(pages, server)];
  await ada.present(bob.name).waitFor();
  await ada.present(eve.name).waitFor();
  await bob.page.close();
  await ada.present(bob.name).waitFor({ state: "detached" });
  const crashed = eve.page.waitForEvent("crash");
  const devtools = await eve.page.context().newCDPSession(eve.page);
  devtools.send("Page.crash").catch(() => {}); // nobody is left to answer
  await crashed;
  await ada.present(eve.name).waitFor({ state: "detached" });
  await pages.close();
}

/** Waits until `look` gives something true, and gives it. `page` only tells the time. */
export async function until(page, look, what) {
  const end = Date.now() + PATIENCE;
  for (;;) {
    const found = await look();
    if (found) return found;
    assert.ok(Date.now() < end, `never came: ${what}`);
    await page.evaluate(() => new Promise(requestAnimationFrame));
  }
}
