/**
 * The wire protocol of webchat (docs/PROTOCOL.md) for browsers, in one module: no dependencies, no page needed.
 *
 *   import { Client } from "./client.js";
 *   const client = new Client("wss://…/poc");          // or a path such as "/local": resolved against the page
 *   client.addEventListener("change", ({ detail }) => …);
 *   client.start();
 *   client.broadcast("Anybody home?");
 *   client.chat("3l0P5m3d8G82Bds=", "Yo!");
 *
 * What it takes care of: reconnecting with growing random waits; a ping before the idle limit, which also finds out that
 * a network died; the next connection before the 2-hour limit, so that nothing is missed; dropping repeats; the order of
 * messages; which message an `accepted` or a receipt belongs to, whichever comes first. It never sends a message twice.
 *
 * Events (CustomEvents; what they tell is in `detail`):
 *   state       client.state: "connecting", "open", "waiting" (until client.retryAt, then it tries again), "closed"
 *   welcome     { connection, before }: this client's id now, and the one it had before
 *   change      { thread, message, added }: `added` if the message is new in the thread; else its status changed
 *   sender      { connection }: somebody spoke who was not heard before
 *   unreadable  { text, why }: a frame that is none of the protocol; frames of types unknown here are passed over
 *
 * client.threads is a Map: "lobby" or a connection id → messages, sorted as everyone sees them. A message is
 *   { key, id, at, sentAt, from, to, text, mine, status, reason }
 * `key` never changes; `id` and `at` (a Date) are the server's and null until they are known; `sentAt` is this clock's
 * time of our own. `status`:
 *   received       somebody else's
 *   sending        no answer yet
 *   accepted       recorded by the server; it will not be lost
 *   delivered      the gateway took it for the recipient (direct messages)
 *   undeliverable  it did not reach the recipient, as far as the server knows; `reason` says why
 *   refused        nothing was recorded; `reason` says why
 *   unconfirmed    the answer never came: it may have been recorded or not. Sending it again is for a person to decide.
 */

const MINUTE = 60_000;

/** Every wait, in milliseconds. A second argument of Client changes some of them. */
export const TIMING = {
  backoff: 1_000, // the longest first wait before another try; doubles
  backoffMax: 30_000,
  welcome: 20_000, // from the beginning of a try to the welcome
  answer: 30_000, // the gateway gives a function 29 s
  quiet: 4 * MINUTE, // then a ping; the gateway closes after 10 min
  pong: 10_000,
  life: 105 * MINUTE, // then the next connection, up to `lifeSpread` later; the gateway closes after 120 min
  lifeSpread: 10 * MINUTE,
};

const MAX_TEXT = 16 * 1024; // bytes of UTF-8
const MAX_FRAME = 32 * 1024; // a browser cannot split a message into frames
const REMEMBERED = 20_000; // repeats come soon after; what is older is forgotten

const encoder = new TextEncoder();
const isText = (value) => typeof value === "string";
const isTime = (value) => isText(value) && !Number.isNaN(Date.parse(value));

/** Bytes of a message's text as the server counts them. */
export const bytesOf = (text) => encoder.encode(text).length;

/** What frames must have to be of use, by type. */
const SHAPES = {
  welcome: { id: isText, at: isTime, connection: isText },
  accepted: { id: isText, at: isTime },
  broadcast: { id: isText, at: isTime, from: isText, message: isText },
  chat: { id: isText, at: isTime, from: isText, to: isText, message: isText },
  connections: { connections: (all) => Array.isArray(all) && all.every((one) => isText(one?.connection)) },
  receipt: { id: isText, message_id: isText, status: (status) => status === "delivered" || status === "undeliverable" },
  pong: { connection: isText },
  error: { code: isText, message: isText },
};

export class Client extends EventTarget {
  #known = new WeakSet(); // messages that were told of

  constructor(url, timing = {}) {
    super();
    this.url = new URL(url, globalThis.location?.href);
    this.url.protocol = this.url.protocol.replace("http", "ws");
    this.timing = { ...TIMING, ...timing };
    this.state = "closed";
    this.retryAt = 0;
    this.connection = null; // our id now
    this.own = new Set(); // every id we had
    this.threads = new Map([["lobby", []]]);
    this.heard = new Set(); // who spoke
    this.link = null; // the connection we send on
    this.next = null; // the one to follow it
    this.failures = 0;
    this.count = 0; // of refs and keys
    this.seen = new Map(); // type and id of what came
    this.byId = new Map(); // messages
    this.receipts = new Map(); // that came before their message's `accepted`
    globalThis.addEventListener?.("online", () => this.retry());
  }

  /** Connects, and stays connected until `stop`. */
  start() {
    if (this.state === "closed") this.#connect();
  }

  stop() {
    clearTimeout(this.timer);
    this.next?.end();
    this.link?.end();
    this.next = this.link = null;
    this.#become("closed");
  }

  /** Tries now instead of at `retryAt`. */
  retry() {
    if (this.state === "waiting") this.#connect();
  }

  /** Finds out whether the connection still works, as after the machine slept. */
  check() {
    if (this.state === "waiting") this.retry();
    else this.link?.ping();
  }

  /** Says something to everyone. Gives the message; throws an Error to be shown if it cannot be sent at all. */
  broadcast(text) {
    return this.#say("lobby", { action: "broadcast", message: wellFormed(text) });
  }

  /** Says something to one other, and asks to hear of the delivery. */
  chat(connection, text) {
    return this.#say(connection, { action: "chat", connection, message: wellFormed(text), receipt: true });
  }

  /** Sends the text of an unconfirmed or refused message as a new message in its place. */
  again(message) {
    const sent = message.to ? this.chat(message.to, message.text) : this.broadcast(message.text);
    this.#remove(message);
    this.#tell("change", { thread: message.thread, message, added: false });
    return sent;
  }

  /** Everyone who is there, this client included: [{ connection, opened_at }]. */
  async list() {
    const all = new Map();
    let cursor;
    do {
      const { connections, next } = await this.#ask({ action: "list", limit: 400, ...(cursor && { cursor }) });
      connections.forEach((one) => all.set(one.connection, one));
      cursor = next;
    } while (cursor);
    return [...all.values()];
  }

  // Connections

  #connect() {
    clearTimeout(this.timer);
    this.#become("connecting");
    this.link = new Link(this, {
      welcome: (frame) => this.#welcomed(frame),
      frame: (frame) => this.#receive(frame),
      end: () => this.#lost(),
    });
  }

  #welcomed({ connection }) {
    const before = this.connection;
    this.connection = connection;
    this.own.add(connection);
    this.failures = 0;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#follow(), this.timing.life + Math.random() * this.timing.lifeSpread);
    this.#become("open");
    this.#tell("welcome", { connection, before });
  }

  #lost() {
    this.link = null;
    this.next?.end();
    this.next = null;
    // Half of the wait is random, so that not everybody comes back at once after a restart.
    const longest = Math.min(this.timing.backoff * 2 ** this.failures++, this.timing.backoffMax);
    const wait = longest * (0.5 + Math.random() / 2);
    this.retryAt = Date.now() + wait;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.retry(), wait);
    this.#become("waiting");
  }

  /** Opens the next connection and changes over once it is welcomed. If that fails, the old one's end is soon enough. */
  #follow() {
    const next = (this.next = new Link(this, {
      welcome: (frame) => {
        const old = this.link;
        [this.link, this.next] = [next, null];
        this.#welcomed(frame);
        old?.retire();
      },
      frame: (frame) => this.#receive(frame),
      end: () => {
        if (this.next === next) this.next = null;
        else if (this.link === next) this.#lost();
      },
    }));
  }

  #become(state) {
    this.state = state;
    this.#tell("state", state);
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  // Sending

  #ask(frame) {
    return new Promise((resolve, reject) => {
      if (this.state !== "open") throw new Error("not connected");
      this.link.send({ ...frame, ref: `${++this.count}` }, (answer) =>
        answer?.type === "connections" ? resolve(answer) : reject(new Error(answer?.message ?? "no answer")),
      );
    });
  }

  #say(thread, frame) {
    if (this.state !== "open") throw new Error("not connected");
    const ref = `${++this.count}`;
    const bytes = bytesOf(frame.message);
    if (bytes > MAX_TEXT || bytesOf(JSON.stringify({ ...frame, ref })) > MAX_FRAME) {
      throw new Error(`too long: ${bytes.toLocaleString()} bytes, at most ${MAX_TEXT.toLocaleString()} are taken`);
    }
    const message = { key: ref, id: null, at: null, from: this.connection, to: frame.connection ?? null };
    Object.assign(message, { text: frame.message, mine: true, status: "sending", reason: null, thread });
    message.sentAt = new Date();
    this.#add(message);
    this.link.send({ ...frame, ref }, (answer) => this.#answered(message, answer));
    return message;
  }

  #answered(message, answer) {
    if (answer?.type === "accepted" && answer.id !== message.id) return this.#confirm(message, answer);
    if (message.id) return; // its push told already
    const certain = answer?.type === "error" && answer.code !== "unavailable";
    message.status = certain ? "refused" : "unconfirmed";
    message.reason = certain ? answer.message : null;
    message.code = certain ? answer.code : null;
    this.#tell("change", { thread: message.thread, message, added: false });
  }

  /** The message is recorded: it gets its id, and its place. */
  #confirm(message, { id, at }) {
    this.#remove(message);
    const taken = this.byId.get(id);
    if (taken) {
      // Two of the same text, and this one's push was taken for the other's, which waits for its own.
      this.#remove(taken);
      Object.assign(taken, { id: null, at: null, status: taken.was });
      if (taken.sentAt) this.#add(taken);
    }
    message.was ??= message.status;
    Object.assign(message, { id, at: new Date(at), status: "accepted", reason: null });
    this.#settle(message, this.receipts.get(id));
    this.receipts.delete(id);
    this.#add(message);
  }

  #settle(message, receipt) {
    if (receipt) Object.assign(message, { status: receipt.status, reason: receipt.reason ?? null });
  }

  // Receiving

  #receive(frame) {
    if (frame.type === "broadcast") this.#pushed("lobby", frame);
    if (frame.type === "chat") this.#pushed(frame.from, frame);
    if (frame.type === "receipt") this.#receipt(frame);
  }

  /** Whether this push came before. */
  repeats({ type, id }) {
    const key = `${type} ${id}`;
    if (this.seen.has(key)) return true;
    this.seen.set(key, true);
    if (this.seen.size > REMEMBERED) this.seen.delete(this.seen.keys().next().value);
    return false;
  }

  #pushed(thread, frame) {
    if (this.byId.has(frame.id) && this.byId.get(frame.id).mine) return;
    if (this.own.has(frame.from)) {
      // It overtook its `accepted`, or the `accepted` is lost: then this says as much.
      const waiting = ({ id, status }) => !id && (status === "sending" || status === "unconfirmed");
      const to = frame.to ?? null;
      const same = (one) => one.mine && waiting(one) && one.text === frame.message && one.to === to;
      const sent = this.#thread(thread).find(same);
      if (sent) return this.#confirm(sent, frame);
    } else if (!this.heard.has(frame.from)) {
      this.heard.add(frame.from);
      this.#tell("sender", { connection: frame.from });
    }
    const mine = this.own.has(frame.from);
    const { id, from, message: text } = frame;
    const status = mine ? "accepted" : "received";
    this.#add({ key: id, id, at: new Date(frame.at), from, to: frame.to ?? null, text, mine, status, reason: null, thread });
  }

  #receipt(receipt) {
    const message = this.byId.get(receipt.message_id);
    if (!message) return void this.receipts.set(receipt.message_id, receipt);
    this.#settle(message, receipt);
    this.#tell("change", { thread: message.thread, message, added: false });
  }

  // Threads

  #thread(name) {
    if (!this.threads.has(name)) this.threads.set(name, []);
    return this.threads.get(name);
  }

  /** Puts a message where its id belongs; those without one are last, in the order of sending. */
  #add(message) {
    const messages = this.#thread(message.thread);
    let place = messages.length;
    if (message.id) {
      while (place > 0 && isAfter(messages[place - 1], message)) place--;
      this.byId.set(message.id, message);
    }
    messages.splice(place, 0, message);
    const added = !this.#known.has(message);
    this.#known.add(message);
    this.#tell("change", { thread: message.thread, message, added });
  }

  #remove(message) {
    const messages = this.#thread(message.thread);
    const place = messages.lastIndexOf(message);
    if (place >= 0) messages.splice(place, 1);
    this.byId.delete(message.id);
  }
}

/** One WebSocket, from the handshake to its end, and the answers it owes. */
class Link {
  constructor(client, told) {
    this.client = client;
    this.told = told;
    this.owed = new Map(); // ref → { answered, timer }
    this.connection = null;
    this.heardAt = Date.now();
    this.timer = setTimeout(() => this.end(), client.timing.welcome);
    this.socket = new WebSocket(this.client.url);
    this.socket.onmessage = ({ data }) => this.#read(data);
    this.socket.onclose = () => this.end();
  }

  send(frame, answered) {
    const timer = setTimeout(() => answered(null), this.client.timing.answer); // one that comes later still counts
    this.owed.set(frame.ref, { answered, timer });
    this.socket.send(JSON.stringify(frame));
  }

  /** Silence after a ping is the end: a dead network says nothing by itself. */
  ping() {
    if (!this.connection || this.socket.readyState !== WebSocket.OPEN) return;
    clearTimeout(this.timer);
    this.socket.send(`{"action":"ping"}`);
    this.timer = setTimeout(() => this.end(), this.client.timing.pong);
  }

  /** Ends it once it owes nothing; it was followed by another. */
  retire() {
    this.told.end = () => {};
    this.retired = true;
    if (this.owed.size === 0) this.end();
    else setTimeout(() => this.end(), this.client.timing.answer);
  }

  end() {
    const { told } = this;
    this.told = { welcome() {}, frame() {}, end() {} };
    this.socket.onmessage = this.socket.onclose = null;
    this.socket.close(1000);
    clearTimeout(this.timer);
    for (const ref of [...this.owed.keys()]) this.#answer(ref, null);
    told.end();
  }

  #read(data) {
    this.#rest();
    let frame;
    try {
      frame = JSON.parse(data);
    } catch {
      return this.#unreadable(data, "it is not JSON");
    }
    if (typeof frame !== "object" || frame === null) return this.#unreadable(data, "it is no object");
    if (frame.type === undefined && isText(frame.message)) return this.#failed();
    if (!isText(frame.type)) return this.#unreadable(data, "it has no `type`");
    const shape = Object.hasOwn(SHAPES, frame.type) ? SHAPES[frame.type] : {};
    const wrong = Object.keys(shape).find((name) => !shape[name](frame[name]));
    if (wrong) return this.#unreadable(data, `\`${wrong}\` of \`${frame.type}\` is missing or wrong`);
    this.#take(frame);
  }

  #take(frame) {
    if (isText(frame.ref)) return this.#answer(frame.ref, frame);
    if (frame.type === "error") return this.#unreadable(JSON.stringify(frame), "an error about a frame it does not name");
    if (!isText(frame.id) || this.client.repeats(frame)) return;
    if (frame.type === "welcome") {
      this.connection = frame.connection;
      this.#rest();
      this.told.welcome(frame);
    } else this.told.frame(frame);
  }

  /** The gateway's own words: a function failed. They do not say which frame's; with one owed, it was that one's. */
  #failed() {
    if (this.owed.size === 1) this.#answer(this.owed.keys().next().value, null);
  }

  #answer(ref, frame) {
    const owed = this.owed.get(ref);
    if (!owed) return;
    this.owed.delete(ref);
    clearTimeout(owed.timer);
    owed.answered(frame);
    if (this.retired && this.owed.size === 0) this.end();
  }

  /** Something came, so all is well for a while. */
  #rest() {
    if (!this.connection) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ping(), this.client.timing.quiet);
  }

  #unreadable(text, why) {
    this.client.dispatchEvent(new CustomEvent("unreadable", { detail: { text: String(text), why } }));
  }
}

/** Whether `one` belongs behind a message that has its id. Ours without one have their own time; what is being sent is last. */
const isAfter = (one, message) => (one.id ? one.id > message.id : one.status === "sending" || one.sentAt > message.at);

/** A lone half of a surrogate pair is no UTF-8. */
const wellFormed = (text) => new TextDecoder().decode(encoder.encode(text));
