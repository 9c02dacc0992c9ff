/** Two drawings closer than this, in ms, share a frame of the screen: the first would never be seen. */
const FRAME = 12;

/**
 * Draws once for all that changes together, at once if nothing was drawn in this frame, else in the next: waiting for a
 * frame each time would add one to the way from a hand to its effect.
 * @param {() => void} draw
 * @returns {{ask: () => void, inNextFrame: () => void, cancel: () => void}}
 */
export function soon(draw) {
  let waiting = false;
  let frame = 0;
  let drawnAt = -Infinity;
  let over = false;
  const go = () => {
    waiting = false;
    if (over) return;
    drawnAt = performance.now();
    draw();
  };
  const inNextFrame = () => {
    waiting = true;
    frame = requestAnimationFrame(go);
  };
  return {
    ask() {
      if (waiting) return;
      if (performance.now() - drawnAt < FRAME) {
        inNextFrame();
      } else {
        waiting = true;
        queueMicrotask(go);
      }
    },
    inNextFrame,
    cancel() {
      over = true;
      cancelAnimationFrame(frame);
    },
  };
}
