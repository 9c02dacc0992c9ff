/** @param {number[]} dims */
export const size = (dims) => dims.join(" × ");

/** @param {number} value */
export const count = (value) => value.toLocaleString("en-US");

/** @param {number} bytes */
export const megabytes = (bytes) => (bytes / 1e6).toLocaleString("en-US", { maximumSignificantDigits: 3 });
