/**
 * How the pages look, and whether everybody can use them: each state at both widths, light and dark, is searched by
 * axe-core for violations and kept as a picture in `screenshots/`, for people to look at.
 */

import assert from "node:assert/strict";
import { mkdirSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Pages, Person, Server, folder, until } from "./stage.js";

const SHOTS = fileURLToPath(new URL("screenshots", import.meta.url));
const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");

let server;
let data;
before(async () => {
  rmSync(SHOTS, { recursive: true, force: true });
  mkdirSync(SHOTS, { recursive: true });
  data = folder();
  server = await Server.start({ data });
});
after(async () => {
  await server?.kill();
  rmSync(data, { recursive: true, force: true });
});

/** Axe's script is put into the page as DevTools would, past the policy that forbids the page to do so. */
async function violations(page) {
  if (!(await page.evaluate(() => "axe" in window))) {
    const { readFileSync } = await import("node:fs");
    await page.evaluate(readFileSync(AXE, "utf8"));
  }
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  return found.violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => `${node.html.slice(0, 160)} ${node.failureSummary}`).join(" | ")}`);
}

async function settled(page) {
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
}

for (const [width, height] of [[320, 640], [1440, 900]]) {
  for (const colorScheme of ["light", "dark"]) {
    test(`both pages look right and have no violations: ${width} px, ${colorScheme}`, async () => {
      const pages = new Pages();
      const options = { viewport: { width, height }, colorScheme, reducedMotion: "reduce" };
      const look = async (page, state, { fullPage = false } = {}) => {
        await settled(page);
        await page.screenshot({ path: `${SHOTS}/${state}-${width}-${colorScheme}.png`, fullPage });
        assert.deepEqual(await violations(page), [], state);
        const wide = await page.evaluate(() => document.documentElement.scrollWidth);
        assert.ok(wide <= width, `${state} is ${wide} px wide`);
      };

      const ada = await Person.join(pages, server, options);
      await look(ada.page, "chat-empty");
      const [bob, eve] = [await Person.join(pages, server), await Person.join(pages, server)];
      await bob.say("Anybody home?");
      await ada.sees("Anybody home?");
      await ada.say("Yes! I am reading docs/PROTOCOL.md. It says that a push can arrive before the answer to the very frame that caused it, so I match them by id.");
      await ada.is("Yes! I am reading docs/PROTOCOL.md. It says that a push can arrive before the answer to the very frame that caused it, so I match them by id.", "accepted");
      await eve.say("Good evening.");
      await eve.say("Is this the place where nothing is ever forgotten?");
      await eve.say("שלום! مرحبا! 你好！");
      await ada.sees("שלום! مرحبا! 你好！");
      await bob.enter(ada.name);
      await bob.say("Psst.");
      await until(ada.page, async () => (await ada.page.title()).startsWith("(1)"), "an unread message");
      await look(ada.page, "chat-everyone");
      if (width === 320) {
        await ada.page.locator("#show-people").click();
        await look(ada.page, "chat-people");
        await ada.page.keyboard.press("Escape");
        await ada.page.locator("#show-people").click();
      }
      await ada.present(bob.name).click();
      await ada.say("Yes?");
      await ada.is("Yes?", "delivered");
      await look(ada.page, "chat-direct");
      await bob.page.close();
      await ada.page.getByText("has left").waitFor();
      await ada.say("Still there?");
      await ada.is("Still there?", "refused");
      await look(ada.page, "chat-left");

      const inspect = await pages.open(`${server.page}inspect`, options);
      await inspect.getByText("the same.").waitFor();
      await look(inspect, "inspect-now", { fullPage: true });
      await inspect.locator("#events .row", { hasText: "Psst." }).last().click();
      for (let step = 0; step < 6; step++) await inspect.locator("#back").click();
      await inspect.getByText("Worked out from the first").waitFor();
      await look(inspect, "inspect-past", { fullPage: true });
      await inspect.locator("#slider").press("Home");
      await inspect.getByText("Nobody was here yet.").waitFor();
      await look(inspect, "inspect-before", { fullPage: true });

      if (width === 320) await ada.page.locator("#show-people").click();
      await ada.lobby();
      server.signal("SIGSTOP");
      await ada.say("Can you hear me?");
      await look(ada.page, "chat-sending");
      await server.kill();
      await ada.is("Can you hear me?", "unconfirmed");
      await ada.say("I keep this until you are back.");
      await look(ada.page, "chat-unconfirmed");
      await inspect.locator("#state[data-state=waiting]").waitFor();
      await look(inspect, "inspect-waiting", { fullPage: true });
      await server.again();
      await ada.page.locator("#retry").click({ timeout: 2_000 }).catch(() => {}); // it may have tried by itself
      await ada.connected();
      await look(ada.page, "chat-again");
      await pages.close({ allow: /ERR_|WebSocket|Failed to load/ });
    });
  }
}
