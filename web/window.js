/**
 * A list of any length of which only what is near the visible part is in the page.
 *
 * Used by both pages. Items have a `key`; their heights may differ and are measured as they appear. What is in view stays
 * where it is when something above it appears, leaves or turns out to be of another height; at the end, it follows the end.
 */

const ANIMATION = 400; // milliseconds that a key's smooth scroll may last
const MARGIN = 600; // pixels beyond the visible part, so that a fast scroll meets no gap

export class Windowed {
  /**
   * `scroller` scrolls, `list` in it holds the nodes. `draw(item, before)` gives { signature, build }: a node is built
   * again only when its signature, a string, has changed. `scrolled(atEnd)` is told after scrolling.
   */
  constructor(scroller, list, draw, { estimate = 48, scrolled = () => {} } = {}) {
    Object.assign(this, { scroller, list, draw, estimate, scrolled });
    this.items = this.measured = [];
    this.tops = [0];
    this.heights = new Map();
    this.nodes = new Map();
    this.atEnd = true;
    this.anchor = null; // the first item in view, and how far above the view's top it begins
    this.place = 0; // where the scroller was when that was noted
    this.heldUntil = 0; // a key's scroll that is still on its way does not count until then
    this.due = 0;
    scroller.addEventListener("scroll", () => this.#scroll(), { passive: true });
    scroller.addEventListener("keydown", (event) => this.#key(event));
    for (const type of ["wheel", "pointerdown"]) scroller.addEventListener(type, () => (this.heldUntil = 0), { passive: true });
    new ResizeObserver(() => this.#resize()).observe(scroller);
  }

  /** These are the items now. */
  show(items) {
    this.items = items;
    this.due ||= requestAnimationFrame(() => this.#layout());
  }

  /** Forgets where it was and shows the end, as for another list. */
  toEnd() {
    this.atEnd = true;
    this.show(this.items);
  }

  /** Brings an item into view. */
  reveal(key) {
    this.#measure();
    const index = this.items.findIndex((item) => item.key === key);
    if (index < 0) return;
    const [top, bottom] = [this.tops[index], this.tops[index + 1]];
    const { scrollTop, clientHeight } = this.scroller;
    if (top >= scrollTop && bottom <= scrollTop + clientHeight) return;
    this.atEnd = false;
    this.anchor = { key, above: -clientHeight / 3 };
    this.show(this.items);
  }

  #scroll() {
    this.#look();
    this.due ||= requestAnimationFrame(() => this.#layout());
    this.scrolled(this.atEnd);
  }

  /** Takes note of where the reader has scrolled. An animated scroll is ahead of its events, so layouts look, too. */
  #look() {
    const { scrollTop, clientHeight, scrollHeight } = this.scroller;
    if (scrollTop === this.place || performance.now() < this.heldUntil) return;
    this.atEnd = scrollTop + clientHeight >= scrollHeight - 8;
    this.#note();
  }

  /** The browser would aim for where the first or the last item is taken to be, and they move as heights are measured. */
  #key(event) {
    this.heldUntil = 0;
    if (!["Home", "End"].includes(event.key) || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    event.preventDefault();
    this.atEnd = event.key === "End";
    this.anchor = this.items.length > 0 ? { key: this.items[0].key, above: 0 } : null;
    this.heldUntil = performance.now() + ANIMATION;
    this.show(this.items);
  }

  #resize() {
    const { clientWidth } = this.scroller;
    if (clientWidth !== this.width) this.heights.clear();
    this.width = clientWidth;
    this.due ||= requestAnimationFrame(() => this.#layout());
  }

  #layout() {
    this.due = 0;
    this.#look();
    // New nodes change heights, and heights the range: it settles at once, or after another look.
    for (let look = 0; look < 4 && this.#draw(); look++);
    this.#note();
  }

  /** Draws the range in view; says whether a height was not what it was taken for. */
  #draw() {
    this.#measure();
    if (this.atEnd) this.#moveTo(this.tops.at(-1));
    else if (this.anchor) {
      const index = this.items.findIndex((item) => item.key === this.anchor.key);
      if (index >= 0) this.#moveTo(this.tops[index] + this.anchor.above);
    }
    const { clientHeight } = this.scroller;
    const from = this.#indexAt(this.wanted - MARGIN);
    const to = Math.min(this.items.length, this.#indexAt(this.wanted + clientHeight + MARGIN) + 1);
    this.#fill(from, to);
    const padding = `${this.tops[from]}px 0 ${this.tops.at(-1) - this.tops[to]}px`;
    if (this.list.style.padding !== padding) this.list.style.padding = padding;
    let changed = false;
    for (const item of this.items.slice(from, to)) {
      const height = this.nodes.get(item.key).node.getBoundingClientRect().height;
      if (this.heights.get(item.key) !== height) changed = this.heights.set(item.key, height) && true;
    }
    if (Math.abs(this.scroller.scrollTop - this.wanted) >= 1) this.scroller.scrollTop = this.wanted;
    return changed;
  }

  #fill(from, to) {
    const held = [...this.nodes].find(([, { node }]) => node.contains(document.activeElement))?.[0];
    const wanted = new Set();
    let place = this.list.firstChild;
    for (let index = from; index < to; index++) {
      const item = this.items[index];
      const { signature, build } = this.draw(item, this.items[index - 1]);
      let drawn = this.nodes.get(item.key);
      if (drawn?.signature !== signature) {
        const node = build();
        if (drawn?.node === place) place = place?.nextSibling ?? null;
        drawn?.node.remove();
        this.nodes.set(item.key, (drawn = { node, signature }));
      }
      wanted.add(item.key);
      drawn.node.setAttribute("aria-posinset", index + 1);
      drawn.node.setAttribute("aria-setsize", this.items.length);
      if (drawn.node === place) place = place.nextSibling;
      else this.list.insertBefore(drawn.node, place);
    }
    for (const [key, { node }] of this.nodes) {
      if (!wanted.has(key)) {
        node.remove();
        this.nodes.delete(key);
      }
    }
    // A node that was built again, or left, took the focus with it.
    if (held !== undefined && !this.list.contains(document.activeElement)) {
      const heir = this.nodes.get(held)?.node.querySelector("button") ?? this.scroller;
      heir.focus({ preventScroll: true });
    }
  }

  #measure() {
    this.wanted = this.scroller.scrollTop;
    this.measured = this.items; // what `tops` is about
    this.tops = new Array(this.items.length + 1);
    let top = 0;
    for (let index = 0; index < this.items.length; index++) {
      this.tops[index] = top;
      top += this.heights.get(this.items[index].key) ?? this.estimate;
    }
    this.tops[this.items.length] = top;
  }

  #moveTo(top) {
    const end = this.tops.at(-1) - this.scroller.clientHeight;
    this.wanted = Math.max(0, Math.min(top, end));
  }

  #indexAt(top) {
    let [low, high] = [0, this.measured.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.tops[middle + 1] <= top) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Remembers what is in view, so that it can stay there. */
  #note() {
    const { scrollTop } = this.scroller;
    this.place = scrollTop;
    const index = this.#indexAt(scrollTop);
    const item = this.measured[index];
    this.anchor = item ? { key: item.key, above: scrollTop - this.tops[index] } : null;
  }
}
