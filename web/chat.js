/**
 * The chat page. What is said, and to whom it belongs, is client.js's; this draws it.
 *
 * Everything that came from somebody else is set as text, never as markup: the policy the page is served with would
 * refuse anything else. Names are the first letters of connection ids, the only names there are.
 */

import { Client, bytesOf } from "./client.js";
import { $, avatar, make, plural, short } from "./dom.js";
import { Windowed } from "./window.js";

const LIST_EVERY = 4_000; // while the page is visible
const SHOWN = 200; // people listed
const LONG = 1_500; // characters of a message shown at first
const MAX_TEXT = 16 * 1024;

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const date = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long", year: "numeric" });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });

function dayOf(at) {
  const days = Math.round((new Date().setHours(0, 0, 0, 0) - new Date(at).setHours(0, 0, 0, 0)) / 86_400_000);
  return days === 0 ? "Today" : days === 1 ? "Yesterday" : date.format(at);
}

// What the page knows beyond the client

let client;
let current = "lobby";
let here = new Map(); // connection → opened_at, as the last list said
const notes = []; // of the page itself, in the lobby
const unread = new Map();
const drafts = new Map();
const opened = new Set(); // long messages shown whole

// Messages

const timeOf = (item) => item.at ?? item.sentAt;
const isSameTurn = (item, before) =>
  before && !before.note && !item.note && before.from === item.from && dayOf(timeOf(before)) === dayOf(timeOf(item)) &&
  timeOf(item) - timeOf(before) < 5 * 60_000;

const list = new Windowed($("messages"), $("list"), draw, { estimate: 64, scrolled: (atEnd) => atEnd && settle() });

function draw(item, before) {
  const newDay = !before || dayOf(timeOf(before)) !== dayOf(timeOf(item));
  const grouped = !newDay && isSameTurn(item, before);
  const whole = opened.has(item.key);
  const signature = [item.status, item.reason, newDay && dayOf(timeOf(item)), grouped, whole, +timeOf(item)].join("|");
  return { signature, build: () => (item.note ? drawNote(item, newDay) : drawMessage(item, newDay, grouped, whole)) };
}

function drawDay(item) {
  const at = timeOf(item);
  return make("p", { className: "day" }, make("time", { dateTime: at.toISOString() }, dayOf(at)));
}

function drawNote(item, newDay) {
  const code = item.code ? make("code", { dir: "auto" }, item.code.slice(0, 600)) : null;
  const line = make("p", { className: "note" }, `${clock.format(item.at)} · ${item.note}`, code);
  return make("li", {}, newDay ? drawDay(item) : null, line);
}

function drawMessage(item, newDay, grouped, whole) {
  const at = timeOf(item);
  const name = item.mine ? "You" : short(item.from);
  const who = make("p", { className: grouped ? "hidden" : "who" },
    make("bdi", { className: "name", title: item.from }, name), " ",
    make("time", { dateTime: at.toISOString(), title: exact.format(at) }, clock.format(at)));
  const cut = !whole && item.text.length > LONG;
  const text = make("p", { className: "text", dir: "auto" }, cut ? item.text.slice(0, LONG) + "…" : item.text);
  const more = cut ? make("button", { className: "link", type: "button", onclick: () => open(item) }, "Show all of it") : null;
  const bubble = make("div", { className: "bubble" }, text, more);
  const node = make("li", { className: item.mine ? "mine" : "theirs" }, newDay ? drawDay(item) : null,
    make("div", { className: "message" }, grouped ? null : avatar(item.from), who, bubble, item.mine ? drawStatus(item) : null));
  node.dataset.status = item.status;
  return node;
}

const REASONS = {
  ended: "had left before it arrived",
  gone: "is no longer there",
  refused: "the gateway would not take it",
  unreachable: "could not be reached",
};

const STATUS = {
  sending: () => "Sending…",
  accepted: (item) => (item.to ? "Sent" : "Sent to everyone"),
  delivered: () => "Delivered",
  undeliverable: (item) => `Not delivered: ${short(item.to ?? "")} ${REASONS[item.reason] ?? "did not get it"}`,
  refused: (item) => (item.code === "unknown_connection" ? `Not sent: ${short(item.to)} is not here any more` : `Not sent: ${item.reason}`),
  unconfirmed: () => "Unconfirmed: no answer came. It may have been sent.",
};

function drawStatus(item) {
  const status = make("p", { className: "status" }, STATUS[item.status]?.(item) ?? item.status);
  if (item.status === "unconfirmed") {
    status.append(" ", make("button", { className: "link", type: "button", onclick: () => again(item) }, "Send again"));
  }
  return status;
}

function open(item) {
  opened.add(item.key);
  show();
  $("messages").focus();
}

function again(item) {
  $("text").focus();
  attempt(() => client.again(item));
}

/** The current thread, with the page's notes where they belong in time. */
function items() {
  const messages = client?.threads.get(current) ?? [];
  if (current !== "lobby" || notes.length === 0) return messages.slice();
  const all = [];
  let note = 0;
  for (const message of messages) {
    while (note < notes.length && notes[note].at < timeOf(message)) all.push(notes[note++]);
    all.push(message);
  }
  return all.concat(notes.slice(note));
}

let showing = 0;
function show() {
  showing ||= requestAnimationFrame(() => {
    showing = 0;
    const all = items();
    $("empty").hidden = all.length > 0;
    list.show(all);
  });
}

function note(text, code = "") {
  notes.push({ key: `note ${notes.length}`, note: text, code, at: new Date() });
  show();
}

// Unread

const inSight = (thread) => thread === current && !document.hidden && list.atEnd;

function settle() {
  if (!document.hidden && unread.delete(current)) drawPeople();
  $("newest").hidden = true;
}

function arrived({ thread, message, added }) {
  if (added && !message.mine) {
    announce(message, thread);
    if (!inSight(thread)) {
      unread.set(thread, (unread.get(thread) ?? 0) + 1);
      $("newest").hidden = thread !== current || list.atEnd;
    }
    drawPeople();
  }
  if (thread === current) show();
}

/** The list shows only a part of itself and moves, so screen readers are told here. */
function announce({ from, text }, thread) {
  const where = thread === "lobby" ? "" : ", to you alone";
  const heard = $("heard");
  heard.append(make("p", { dir: "auto" }, `${short(from)}${where}: ${text.slice(0, 300)}`));
  while (heard.childElementCount > 5) heard.firstChild.remove();
}

// People

let drawing = 0;
function drawPeople() {
  drawing ||= requestAnimationFrame(() => {
    drawing = 0;
    fillPerson($("lobby"), "lobby");
    // After a crash of the server our earlier selves stay in the list for a while.
    const others = [...here.keys()].filter((connection) => !client.own.has(connection));
    const me = client.connection && client.state === "open" ? [client.connection] : [];
    $("here").textContent = here.size > 0 ? (me.length + others.length).toLocaleString() : "";
    fill($("present"), [...me, ...others.slice(0, SHOWN)], others.length - SHOWN);
    const gone = [...client.threads.keys()].filter((name) => name !== "lobby" && !here.has(name) && !client.own.has(name));
    fill($("gone"), gone, 0);
    $("left").hidden = gone.length === 0;
    const total = [...unread.values()].reduce((sum, count) => sum + count, 0);
    document.title = total > 0 ? `(${total}) webchat` : "webchat";
    $("badge").hidden = total === 0;
    $("badge").replaceChildren(String(total), make("span", { className: "hidden" }, " unread"));
    drawAbout();
  });
}

/** One entry for each connection, keeping those that are there, and with them the focus. */
function fill(ul, connections, more) {
  const nodes = new Map([...ul.children].map((node) => [node.dataset.connection, node]));
  const wanted = connections.map((connection) => {
    const mine = client.own.has(connection);
    const node = nodes.get(connection) ?? make("li", {}, make(mine ? "p" : "button", { className: "person" }));
    node.dataset.connection = connection;
    const inner = node.firstChild;
    if (!mine) Object.assign(inner, { type: "button", onclick: () => enter(connection) });
    fillPerson(inner, connection);
    return node;
  });
  if (more > 0) wanted.push(make("li", { className: "more" }, `and ${more.toLocaleString()} more`));
  if (wanted.length !== ul.children.length || wanted.some((node, index) => node !== ul.children[index])) {
    const focused = document.activeElement;
    ul.replaceChildren(...wanted);
    if (ul.contains(focused)) focused.focus();
  }
}

function fillPerson(node, thread) {
  const count = unread.get(thread) ?? 0;
  const mine = client?.own.has(thread);
  const signature = `${count}|${thread === current}|${mine}`;
  if (node.dataset.signature === signature) return;
  node.dataset.signature = signature;
  const lobby = thread === "lobby";
  if (lobby || !mine) node.ariaCurrent = thread === current ? "true" : null;
  node.replaceChildren(
    lobby ? make("span", { className: "avatar all", ariaHidden: "true" }, "✳") : avatar(thread),
    make("span", { className: "name", title: lobby ? "" : thread }, lobby ? "Everyone" : short(thread)),
    mine ? make("span", { className: "you" }, "you") : "",
    count > 0 ? make("span", { className: "badge" }, count.toLocaleString(), make("span", { className: "hidden" }, " unread")) : "",
  );
}

function drawAbout() {
  const lobby = current === "lobby";
  const name = lobby ? "everyone" : short(current);
  const left = !lobby && !here.has(current) && here.size > 0;
  $("title").textContent = lobby ? "Everyone" : name;
  $("who").textContent = lobby
    ? "Whoever is here hears this."
    : left ? "Has left. Who returns has a new name." : `Only ${name} hears this.`;
  $("label").textContent = `Message to ${name}`;
  $("text").placeholder = `Message to ${name}`;
}

/** Changes to a thread. What was written stays with the thread it was written in. */
function enter(thread) {
  drafts.set(current, $("text").value);
  current = thread;
  $("text").value = drafts.get(current) ?? "";
  $("problem").textContent = "";
  unread.delete(current);
  $("newest").hidden = true;
  drawPeople();
  measure();
  list.show([]);
  show();
  list.toEnd();
  showPeople(false);
  $("text").focus();
}

function showPeople(shown) {
  $("show-people").ariaExpanded = String(shown);
  $("people").classList.toggle("shown", shown);
}

let listing = false;
async function refresh() {
  if (listing || document.hidden || client.state !== "open") return;
  listing = true;
  try {
    const all = await client.list();
    all.sort((a, b) => (a.opened_at < b.opened_at ? -1 : 1));
    here = new Map(all.map((one) => [one.connection, one.opened_at]));
    drawPeople();
  } catch {
    // The state says what is wrong; the next look comes soon.
  }
  listing = false;
}

// Writing

function measure() {
  const bytes = bytesOf($("text").value);
  const left = MAX_TEXT - bytes;
  $("hint").textContent = left > MAX_TEXT / 4
    ? "Enter sends, Shift + Enter makes a new line."
    : left >= 0 ? `${plural(left, "byte")} left` : `${plural(-left, "byte")} too long`;
  $("hint").classList.toggle("over", left < 0);
}

function attempt(action) {
  $("problem").textContent = "";
  try {
    action();
    return true;
  } catch (error) {
    const offline = client?.state !== "open";
    $("problem").textContent = offline ? "Not connected. Your text is kept." : `Not sent: ${error.message}.`;
    return false;
  }
}

function send() {
  const text = $("text").value;
  if (text.trim() === "") return;
  const sent = attempt(() => {
    if (!client) throw new Error("not connected");
    if (current === "lobby") client.broadcast(text);
    else client.chat(current, text);
  });
  if (!sent) return;
  $("text").value = "";
  measure();
  list.toEnd();
}

// State

function drawState() {
  const { state, connection } = client;
  const text = {
    open: `Connected as ${short(connection ?? "")}`,
    connecting: "Connecting…",
    waiting: "Not connected, trying again",
    closed: "Not connected.",
  };
  if ($("state-text").textContent !== text[state]) $("state-text").textContent = text[state];
  $("state").dataset.state = state;
  $("retry").hidden = state !== "waiting";
  $("send").ariaDisabled = String(state !== "open");
  drawWait();
  drawPeople();
}

let ticking = 0;
function drawWait() {
  clearTimeout(ticking);
  const waiting = client.state === "waiting";
  const seconds = Math.max(0, Math.ceil((client.retryAt - Date.now()) / 1000));
  $("wait").textContent = waiting ? `in ${seconds} s` : "";
  if (waiting) ticking = setTimeout(drawWait, 500);
}

let lostAt = null;
function stateChanged() {
  if (client.state === "waiting") {
    lostAt ??= client.connection && new Date();
  }
  drawState();
}

function welcomed({ connection, before }) {
  if (before && lostAt) {
    note(`The connection was lost at ${clock.format(lostAt)}. What was said since then is not here. Your name is ${short(connection)} now.`);
  } else if (before) note(`Your name is ${short(connection)} now: the server lets no connection live longer than 2 hours.`);
  lostAt = null;
  $("problem").textContent = "";
  refresh();
}

async function start() {
  let config;
  try {
    config = await (await fetch("config.json", { cache: "no-store" })).json();
    client = new Client(config.url);
  } catch {
    $("state-text").textContent = "This page could not learn the address of the chat.";
    $("retry").hidden = false;
    $("retry").onclick = () => location.reload();
    return;
  }
  $("inspect").hidden = !config.inspect;
  $("retry").onclick = () => client.retry();
  const on = (type, told) => client.addEventListener(type, ({ detail }) => told(detail));
  on("state", stateChanged);
  on("welcome", welcomed);
  on("change", arrived);
  on("sender", refresh);
  on("unreadable", ({ text, why }) => note(`A frame came that this page cannot read: ${why}.`, text));
  drawPeople();
  client.start();
  setInterval(refresh, LIST_EVERY);
}

$("lobby").onclick = () => enter("lobby");
$("newest").onclick = () => {
  settle();
  list.toEnd();
  $("messages").focus();
};
$("show-people").onclick = () => {
  const shown = $("show-people").ariaExpanded !== "true";
  showPeople(shown);
  if (shown) $("lobby").focus();
};
$("people").onkeydown = ({ key }) => {
  if (key !== "Escape" || $("show-people").ariaExpanded !== "true") return;
  showPeople(false);
  $("show-people").focus();
};
$("form").onsubmit = (event) => {
  event.preventDefault();
  send();
};
$("text").oninput = measure;
$("text").onkeydown = (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send();
};
document.addEventListener("visibilitychange", () => {
  if (document.hidden || !client) return;
  client.check();
  refresh();
  if (list.atEnd) settle();
});

start();
