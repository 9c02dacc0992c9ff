/** Settings without a kernel: what a widget's model does, within the page. */
export class LocalModel {
  /** @param {Record<string, any>} state */
  constructor(state) {
    this.state = { ...state };
    this.events = new EventTarget();
  }

  get(name) {
    return this.state[name];
  }

  set(name, value) {
    this.state[name] = value;
    this.events.dispatchEvent(new Event(`change:${name}`));
  }

  save_changes() {}

  on(event, callback) {
    this.events.addEventListener(event, callback);
  }

  off(event, callback) {
    this.events.removeEventListener(event, callback);
  }
}
