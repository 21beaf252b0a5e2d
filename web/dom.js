/**
 * What both pages draw with: elements from properties, and the short names of connections. Text is only ever set as text.
 */

export const $ = (id) => document.getElementById(id);

/** An element with properties and children; strings become text, null nothing. */
export function make(name, properties = {}, ...children) {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** The first letters of a connection's id, the only name there is. */
export const short = (connection) => String(connection).slice(0, 6);

/** One of eight colours, always the same for a connection. */
export function hue(connection) {
  let mixed = 2166136261;
  for (const letter of connection) mixed = Math.imul(mixed ^ letter.codePointAt(0), 16777619);
  return ((mixed >>> 13) ^ (mixed >>> 3)) & 7;
}

export function avatar(connection) {
  return make("span", { className: `avatar hue-${hue(connection)}`, ariaHidden: "true" }, short(connection).slice(0, 2));
}

export const plural = (count, noun) => `${count.toLocaleString()} ${noun}${count === 1 ? "" : "s"}`;
