/** Text that came from a server or a file, made safe for a terminal. */

const ESC = '\\u001b';
/** CSI; then OSC and its kin, ended by BEL or ST; then every other escape. Built from text, as the characters themselves are invisible. */
const ESCAPES = new RegExp(
  [
    `(?:${ESC}\\[|\\u009b)[0-?]*[ -/]*[@-~]`,
    `(?:${ESC}[\\]PX^_]|[\\u009d\\u0090\\u0098\\u009e\\u009f])[^\\u0007\\u001b\\u009c]*(?:\\u0007|${ESC}\\\\|\\u009c|$)`,
    `${ESC}[ -/]*[0-~]?`,
  ].join('|'),
  'g',
);
/** Control characters but tab and newline; zero-width and bidirectional ones. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g;

/** Without escape sequences and control characters; tab and newline stay. */
export function plainText(text: string): string {
  return text.replace(ESCAPES, '').replace(CONTROLS, '');
}

/** On one line. */
export function oneLine(text: string): string {
  return plainText(text).replace(/\s*[\n\t]\s*/g, ' ');
}

/** JSON whose every control, format and bidirectional character is written as an escape; `indent` 0: on one line. */
export function safeJson(value: unknown, indent = 2): string {
  return JSON.stringify(value, null, indent).replace(
    /[\u007f-\u009f\u200b-\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
