/** Takes the README's two pictures, `docs/images/chat.png` and `inspect.png`: `make screenshots`. Ends by itself. */

import { mkdirSync, statSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Pages, Person, Server } from "./stage.js";

const picture = (name) => fileURLToPath(new URL(`../../docs/images/${name}.png`, import.meta.url));

test("the README's pictures", async () => {
  mkdirSync(fileURLToPath(new URL("../../docs/images", import.meta.url)), { recursive: true });
  const server = await Server.start();
  const pages = new Pages();
  const options = { viewport: { width: 960, height: 560 }, colorScheme: "light", reducedMotion: "reduce" };
  const ada = await Person.join(pages, server, options);
  const bob = await Person.join(pages, server);
  await ada.say("Anybody home?");
  await bob.sees("Anybody home?");
  const eve = await Person.join(pages, server);
  await bob.say("Yes! Where does this chat keep who is here?");
  await ada.sees("Yes! Where does this chat keep who is here?");
  const answer = "Nowhere for good. It keeps what happened: you came, you asked. Who is here follows from that.";
  await ada.say(answer);
  await ada.is(answer, "accepted");
  await eve.say("So one could look back?");
  await ada.sees("So one could look back?");
  await bob.enter(ada.name);
  await bob.say("Psst, coffee?");
  await ada.present(bob.name).locator(".badge").waitFor();
  await ada.present(bob.name).waitFor();
  await ada.present(eve.name).waitFor();
  await ada.say("To any moment, in /inspect.");
  await ada.is("To any moment, in /inspect.", "accepted");
  await ada.page.screenshot({ path: picture("chat") });

  await bob.page.close();
  const page = await pages.open(`${server.page}inspect`, { ...options, viewport: { width: 960, height: 820 } });
  await page.locator("#events .row", { hasText: `${bob.name} left` }).waitFor();
  await page.locator("#events .row", { hasText: "Psst, coffee?" }).click();
  const told = await page.locator("#events .tells").allTextContents();
  await page.locator("#slider").fill(String(told.findIndex((text) => text === `${eve.name} came`) + 1));
  await page.getByText("just came").waitFor();
  await page.evaluate(() => document.activeElement.blur() ?? scrollTo(0, 0));
  await page.mouse.move(0, 0);
  await page.screenshot({ path: picture("inspect") });
  await pages.close();
  for (const name of ["chat", "inspect"]) console.log(`${picture(name)}: ${statSync(picture(name)).size.toLocaleString("en")} bytes`);
});
