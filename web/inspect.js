/**
 * The inspect page: the event log, the view at any moment of it, and the way of one event through the system.
 *
 * The view of a past moment is made by the server, with the fold that makes the real one; here it is only drawn. What is
 * on the bus and pushed comes by a feed of what crosses the wire. All of it is read-only and for this machine alone.
 */

import { $, avatar, hue, make, plural, short } from "./dom.js";
import { Windowed } from "./window.js";

const KEPT = 600; // notices and pushes kept, each
const LANE = 24; // pixels, with a name
const THIN = 8; // pixels, without
const NAME = 50; // pixels, of a name's width
const THUMB = 24; // pixels, as in inspect.css

const events = []; // in the order of the log
const places = new Set();
let older = 0; // events before those
let moment = null; // the place of the last event that counts; null: now; "": before the first
let picked = null; // id of what is followed; null: the newest message
const appended = new Map(); // event id → when it was seen to be written
const notices = [];
const pushes = [];

const time = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hourCycle: "h23" });
const day = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric", month: "short" });
const clock = (at) => time.format(typeof at === "string" ? Date.parse(at) : at);
const quote = (text) => `“${String(text).replace(/\s+/g, " ")}”`;

// Words

const CLOSED = { 1000: "said goodbye", 1001: "left the page, or the server stopped", 1006: "gone without a word" };
const WHY = { ended: "had left", gone: "was gone", refused: "was refused", unreachable: "could not be reached" };
const counted = ({ delivered, gone, failed }) =>
  [`sent out to ${plural(delivered, "connection")}`, gone > 0 && `${gone} gone`, failed > 0 && `${failed} failed`].filter(Boolean).join(", ");

/** What an event says, in words: sign, its kind of sign, words. */
const WORDS = {
  ConnectionOpened: ({ who }) => ["+", "in", `${who} came`],
  ConnectionClosed: ({ who, data }) => ["−", "out", `${who} left: ${CLOSED[data.code] ?? `code ${data.code}`}`],
  ConnectionLost: ({ who, data }) => ["−", "out", `${who} was found gone, by ${data.found_by === "post" ? "a push" : "a sweep"}`],
  MessageBroadcast: ({ data }) => ["✉", "", `${short(data.from)} to everyone: ${quote(data.text)}`],
  MessageSent: ({ data }) => ["✉", "", `${short(data.from)} to ${short(data.to)}: ${quote(data.text)}`],
  MessageDelivered: ({ data }) => ["✓", "done", `delivered to ${short(data.to)}`],
  MessageUndeliverable: ({ data }) => ["✕", "bad", `not delivered: ${short(data.to)} ${WHY[data.reason] ?? data.reason}`],
  BroadcastDelivered: ({ data }) => ["✓", "done", counted(data)],
};

function words(event) {
  const who = short(connectionOf(event) ?? "");
  try {
    return WORDS[event.type]({ who, data: event.data });
  } catch {
    return ["?", "", `an event of the unknown type ${event.type}`];
  }
}

const connectionOf = ({ stream }) => (stream.startsWith("connection#") ? stream.slice("connection#".length) : null);

/** The id of what an event, a notice or a push belongs to: of a message, or of a connection's opening. */
const traceOfEvent = ({ stream, id }) => (stream.startsWith("delivery#") ? stream.slice("delivery#".length) : id);
const traceOf = (told) => told?.message_id ?? told?.id;

// The log

function add(event) {
  if (places.has(event.place)) return false;
  places.add(event.place);
  let place = events.length;
  while (place > 0 && events[place - 1].place > event.place) place--;
  events.splice(place, 0, { ...event, key: event.place });
  for (; place < events.length; place++) events[place].number = older + place + 1;
  return true;
}

/** Number of events up to the moment. */
function reached() {
  if (moment === null) return events.length;
  let [low, high] = [0, events.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (events[middle].place <= moment) low = middle + 1;
    else high = middle;
  }
  return low;
}

const log = new Windowed($("log"), $("events"), (event) => {
  const later = moment !== null && event.place > moment;
  const traced = traceOfEvent(event) === followed();
  const edge = moment === event.place;
  const cut = () => (edge ? make("p", { className: "cut" }, "The moment you chose. What follows has not happened yet.") : null);
  return { signature: `${later}${traced}${edge}${event.number}`, build: () => make("li", {}, drawEvent(event, later, traced), cut()) };
}, { estimate: 36 });

function drawEvent(event, later, traced) {
  const [sign, kind, tells] = words(event);
  const node = make("button", { className: `row${later ? " later" : ""}${traced ? " traced" : ""}`, type: "button", ariaPressed: String(traced) },
    make("span", { className: "number" }, event.number.toLocaleString()),
    make("time", { dateTime: event.at, title: day.format(Date.parse(event.at)) }, clock(event.at)),
    make("span", { className: `sign ${kind}`, ariaHidden: "true" }, sign),
    make("span", { className: "tells", dir: "auto" }, later ? make("span", { className: "hidden" }, "not yet: ") : "", tells),
    make("span", { className: "of" }, event.type));
  node.onclick = () => pick(traceOfEvent(event));
  return node;
}

// The moment

function goTo(count) {
  const last = events.length;
  moment = count >= last ? null : count === 0 ? beginning() : events[count - 1].place;
  drawMoment();
  if (count > 0) log.reveal(events[Math.min(count, last) - 1].key);
  lookAtView();
}

/** Before the first event shown, and behind those before it: the places sort as text. */
const beginning = () => (older > 0 ? events[0].place.slice(0, -1) : "");

function drawMoment() {
  const count = reached();
  const [slider, last] = [$("slider"), events.length];
  slider.max = last;
  slider.value = count;
  const event = events[count - 1];
  $("count").textContent = moment === null ? `Now, after ${plural(older + last, "event")}.` : `After ${older + count} of ${plural(older + last, "event")}.`;
  $("when").textContent = event ? whenOf(event) : "";
  $("what").textContent = event ? `${moment === null ? "Last" : "Just then"}: ${words(event)[2]}` : older > 0 ? "What came before is not listed here." : "Nothing has happened yet. Nobody is here.";
  $("nothing").hidden = last > 0;
  $("call").textContent = last > 0 ? "Drag the slider back and watch the list." : "Open the chat in another tab and watch.";
  slider.disabled = last === 0;
  slider.setAttribute("aria-valuetext", `${$("count").textContent} ${$("what").textContent}`);
  $("back").disabled = count === 0;
  $("forth").disabled = moment === null;
  $("now").ariaDisabled = String(moment === null);
  log.show(events.slice());
  drawLanes();
}

function whenOf({ at }) {
  const then = new Date(at);
  return then.toDateString() === new Date().toDateString() ? clock(at) : `${day.format(then)}, ${clock(at)}`;
}

const SVG = "http://www.w3.org/2000/svg";
function shape(name, attributes, text) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text) node.textContent = text;
  return node;
}

/** When each connection was here, in numbers of events. */
function bars() {
  const all = new Map();
  events.forEach((event, index) => {
    const connection = connectionOf(event);
    if (!connection) return;
    const bar = all.get(connection) ?? { connection, from: 0, to: Math.max(1, events.length) };
    if (event.type === "ConnectionOpened") bar.from = index + 1;
    else bar.to = index + 1;
    all.set(connection, bar);
  });
  return [...all.values()];
}

/** Gives each bar a lane, one after the other where there is room; those that find none of the `most` are left out. */
function inLanes(all, x, most) {
  const ends = [];
  const placed = all.filter((bar) => {
    const free = ends.findIndex((end) => x(end) + 4 < x(bar.from));
    bar.lane = free < 0 ? ends.length : free;
    if (bar.lane < most) ends[bar.lane] = bar.to;
    return bar.lane < most;
  });
  return [placed, ends.length];
}

/** Each connection a bar, each message a dot on its sender's: what the slider moves through. */
function drawLanes() {
  const svg = $("lanes");
  const { clientWidth: width, clientHeight: height } = svg;
  const x = (count) => THUMB / 2 + (count / Math.max(1, events.length)) * (width - THUMB);
  const [placed, count] = inLanes(bars(), x, Math.floor(height / THIN));
  const step = height / Math.max(3, count);
  const roomy = step >= LANE - 2;
  const [thick, dot] = roomy ? [10, 4.5] : [step * 0.6, 2.5];
  const middle = (lane) => (lane + (roomy ? 0.7 : 0.5)) * step;
  const drawn = placed.map(({ connection, from, to, lane }) => {
    const place = { x: x(from), y: middle(lane) - thick / 2, width: Math.max(2, x(to) - x(from)), height: thick };
    return shape("rect", { class: `lane hue-${hue(connection)}`, rx: thick / 2, ...place });
  });
  const laneOf = new Map(placed.map(({ connection, lane }) => [connection, lane]));
  const gap = Math.ceil(events.length / 400); // so that dots stay dots
  events.forEach((event, index) => {
    const lane = laneOf.get(event.data?.from);
    if (!isMessage(event) || lane === undefined || index % gap) return;
    const traced = event.id === followed() ? " traced" : "";
    drawn.push(shape("circle", { class: `dot${traced}`, cx: x(index + 1), cy: middle(lane), r: dot }));
  });
  const at = x(reached());
  drawn.push(shape("rect", { class: "future", x: at + 6, y: 0, width: Math.max(0, width - at - 6), height }));
  drawn.push(shape("line", { class: "line", x1: at, x2: at, y1: 0, y2: height }));
  // A name stands above its bar or, where lanes are narrow, before it; and not at all where another one is in its way.
  const taken = [];
  for (const { connection, from, to, lane } of step > 12 ? placed : []) {
    const left = roomy ? Math.min(x(from) + 2, width - NAME) : x(from) - NAME;
    const name = { class: "lane-name", x: left, y: middle(lane) + (roomy ? -8 : 4) };
    if (left >= (taken[lane] ?? 0)) drawn.push(shape("text", name, short(connection)));
    taken[lane] = roomy ? left + NAME : x(to);
  }
  svg.replaceChildren(...drawn);
}

// The view

let looking = false;
let lookAgain = false;

/** Asks for the view of the moment; while an answer is on its way, only the last wish counts. */
async function lookAtView() {
  if (looking) return void (lookAgain = true);
  looking = true;
  const wanted = moment;
  try {
    // The moment before the first event sorts before every event.
    drawView(await read(wanted === null ? "view" : `view?up_to=${encodeURIComponent(wanted)}`), wanted);
  } catch {
    lookAgain ||= moment !== wanted;
  }
  looking = false;
  if (lookAgain) {
    lookAgain = false;
    lookAtView();
  }
}

function drawView({ live, ended, rows, same_as_log }, wanted) {
  const event = wanted ? events.find(({ place }) => place === wanted) : null;
  const touched = event && connectionOf(event);
  const sums = `${live.toLocaleString()} here, ${ended.toLocaleString()} gone. `;
  $("view-sub").replaceChildren(sums, howMade(wanted, event, touched, same_as_log));
  const cards = rows.map((row) => {
    const end = row.closed_at ?? row.lost_at;
    const ending = row.closed_at ? `, left ${clock(end)}` : row.lost_at ? `, found gone ${clock(end)}` : "";
    const came = row.opened_at ? `came ${clock(row.opened_at)}` : "its coming is not known yet";
    const now = row.connection === touched;
    return make("li", { className: `card${row.live ? " live" : ""}${now ? " touched" : ""}` }, avatar(row.connection),
      make("span", { title: row.connection }, short(row.connection), make("span", { className: "since" }, came + ending)),
      make("span", { className: "is" }, row.live ? (now ? "just came" : "here") : now ? "just left" : "gone"));
  });
  $("rows").replaceChildren(...(cards.length > 0 ? cards : [make("li", { className: "none" }, "Nobody was here yet.")]));
}

/** How the list was made, and what the last event did to it. */
function howMade(wanted, event, touched, same) {
  const how = (className, text) => make("span", { className }, text);
  const all = plural(older + reached(), "event");
  if (wanted === null) {
    return same ? how("same", `As kept by the chat. Worked out again from all ${all}: the same.`) : how("", "As kept by the chat; the newest events are on their way to it.");
  }
  if (wanted === "") return how("past", "Before the first event.");
  return how("past", `Worked out from the first ${all}. ${effect(event, touched)}`);
}

function effect(event, touched) {
  if (!event) return "";
  const number = `Event ${event.number.toLocaleString()}`;
  if (!touched) return `${number} changes nothing here.`;
  return event.type === "ConnectionOpened" ? `${number} put ${short(touched)} on the list.` : `${number} took ${short(touched)} off it.`;
}

// The way of one event

const isMessage = ({ stream }) => stream.startsWith("conversation#");

function followed() {
  if (picked) return picked;
  for (let index = events.length - 1; index >= 0; index--) if (isMessage(events[index])) return events[index].id;
  return events.length > 0 ? traceOfEvent(events[0]) : null;
}

function pick(trace) {
  picked = trace;
  drawAll();
}

function drawWay() {
  const trace = followed();
  const own = events.filter((event) => traceOfEvent(event) === trace);
  const first = own.find(({ id }) => id === trace);
  $("way-sub").textContent = first ? `${picked ? "" : "The newest message, until you pick another event: "}${words(first)[2]}` : "Nothing to follow yet.";
  const steps = [];
  const step = (at, title, detail, bad = false) => steps.push({ at, title, detail, bad });
  if (first && isMessage(first)) step(Date.parse(first.at), "Frame", "reaches the gateway");
  for (const event of own) {
    const outcome = event !== first;
    step(loggedAt(event, trace, outcome), outcome ? "Outcome" : "Event", `${event.type} is in the log`, event.type === "MessageUndeliverable");
  }
  for (const { at, notice, detail, failed } of notices) {
    if (traceOf(detail) === trace) step(at, "Notice", `${notice} ${failed ? `refused: ${failed}` : "is on the bus"}`, Boolean(failed));
  }
  const pushed = pushes.filter(({ frame }) => traceOf(frame) === trace);
  for (const [kind, all] of group(pushed, kindOfPush)) {
    const to = all.length > 3 ? plural(all.length, "connection") : all.map(({ connection }) => short(connection)).join(", ");
    const { status } = all[0];
    step(Math.max(...all.map(({ at, took }) => at + took)), "Push", `${kind.split(" ")[0]} to ${to}: ${fate(status)}`, status !== 200);
  }
  steps.sort((a, b) => a.at - b.at);
  $("way").replaceChildren(...steps.map(({ at, title, detail, bad }, index) => {
    const after = Math.max(0, at - steps[0].at);
    const passed = index === 0 ? clock(at) : `+${after < 10_000 ? `${after.toFixed(after < 100 ? 1 : 0)} ms` : `${(after / 1000).toFixed(1)} s`}`;
    return make("li", { className: bad ? "bad" : "" }, make("strong", {}, title), make("span", { className: "after" }, passed), make("span", {}, detail));
  }));
}

/** When the event was in the log: when the append was answered or, if that was sooner, its notice was on the bus. */
function loggedAt(event, trace, outcome) {
  const caused = notices.find(({ notice, detail }) => traceOf(detail) === trace && (notice === "receipt") === outcome);
  return Math.min(appended.get(event.id) ?? Date.parse(event.at), caused?.at ?? Infinity);
}

const kindOfPush = ({ frame, status }) => `${frame?.type ?? "frame"} ${status}`;
const fate = (status) => ({ 200: "taken", 410: "gone (410)", 429: "too many (429)" })[status] ?? `failed (${status})`;

function group(all, kind) {
  const groups = new Map();
  for (const one of all) groups.set(kind(one), [...(groups.get(kind(one)) ?? []), one]);
  return groups;
}

// Bus and pushes

function drawWire() {
  const trace = followed();
  const line = (at, sign, bad, tells, of, own) => {
    const traced = own === trace;
    const node = make("button", { className: `row${traced ? " traced" : ""}`, type: "button", ariaPressed: String(traced) },
      make("time", {}, clock(at)), make("span", { className: `sign ${bad ? "bad" : ""}`, ariaHidden: "true" }, sign),
      make("span", { className: "tells", dir: "auto" }, tells), make("span", { className: "of" }, of));
    node.onclick = () => pick(own);
    return make("li", {}, node);
  };
  const bus = notices.slice(-60).reverse().map(({ at, notice, detail, failed }) =>
    line(at, "◆", failed, `${notice}${forWhom(notice, detail)}`, failed ?? "on the bus", traceOf(detail)));
  const out = pushes.slice(-60).reverse().map(({ at, took, connection, frame, status }) =>
    line(at, "➤", status !== 200, `${frame?.type ?? "frame"} to ${short(connection)}: ${fate(status)}`, `${took.toFixed(1)} ms`, traceOf(frame)));
  const none = (text) => [make("li", { className: "none" }, text)];
  refill($("bus"), bus.length > 0 ? bus : none("None seen yet."));
  refill($("pushes"), out.length > 0 ? out : none("None seen yet."));
}

/** Replaces the lines, and keeps the focus on the same place if it was there. */
function refill(ol, lines) {
  const held = [...ol.children].findIndex((li) => li.contains(document.activeElement));
  ol.replaceChildren(...lines);
  if (held >= 0) ol.children[Math.min(held, lines.length - 1)].firstChild.focus?.();
}

function forWhom(notice, detail) {
  const to = detail?.to ?? detail?.connection;
  if (to) return ` for ${short(to)}`;
  return detail?.connections ? ` for ${plural(detail.connections.length, "connection")}` : " for everyone";
}

async function lookAtParked() {
  try {
    const { parked, given_up } = await read("parked");
    const lines = [
      ...parked.map(({ stream, id, why, at }) => `${clock(at)} · ${stream} ${id}: ${why}`),
      ...given_up.map(({ function: name, at, why }) => `${clock(at)} · given up after all tries: ${name}: ${why}`),
    ];
    $("parked").replaceChildren(...(lines.length > 0 ? lines : ["Nothing. All is well."]).map((line) => make("li", {}, line)));
  } catch {
    // The state says so.
  }
}

// The feed

async function read(path) {
  const answer = await fetch(`inspect/${path}`, { cache: "no-store" });
  if (!answer.ok) throw Object.assign(new Error(answer.statusText), { status: answer.status });
  return answer.json();
}

function keep(all, one) {
  all.push(one);
  if (all.length > KEPT) all.shift();
}

/** Takes what crossed the wire; says whether the view may have changed. */
function take(told) {
  if (told.kind === "append" && told.status === 200) {
    appended.set(told.event.id, told.at + told.took);
    add(told.event);
  }
  if (told.kind === "notice") keep(notices, told);
  if (told.kind === "push") keep(pushes, told);
  if (told.kind === "parked") lookAtParked();
  return told.kind === "view";
}

let drawing = 0;
function drawAll() {
  drawing ||= requestAnimationFrame(() => {
    drawing = 0;
    drawMoment();
    drawWay();
    drawWire();
  });
}

function say(state, text) {
  $("state").dataset.state = state;
  if ($("state-text").textContent !== text) $("state-text").textContent = text;
}

async function readLog() {
  const { next, older: before, events: all, observed } = await read("log");
  events.length = 0;
  places.clear();
  older = before;
  notices.length = pushes.length = 0;
  all.forEach(add);
  observed.forEach(take);
  drawAll();
  lookAtView();
  lookAtParked();
  return next;
}

async function follow() {
  let next = null;
  for (;;) {
    try {
      next ??= await readLog();
      say("open", "Following");
      const { next: then, missed, observed } = await read(`feed?after=${next}`);
      const changed = observed.map(take).includes(true);
      if (observed.length > 0) drawAll();
      if (changed && moment === null) lookAtView();
      next = missed ? null : then;
    } catch ({ status }) {
      next = null;
      say("waiting", status === 403 ? "Only for a browser on the machine that runs webchat." : "Not connected. Trying again by itself.");
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }
}

$("slider").oninput = () => goTo(Number($("slider").value));
$("back").onclick = () => goTo(reached() - 1);
$("forth").onclick = () => goTo(reached() + 1);
$("now").onclick = () => goTo(events.length);
new ResizeObserver(drawLanes).observe($("lanes"));

follow();
