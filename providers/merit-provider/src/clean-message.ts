/** What a provider may hand on of a job's or backend's own words. */
export const MESSAGE_LIMIT_BYTES = 4096;
const HEAD_BYTES = 1024;
const CUT = ' … ';

// biome-ignore lint/suspicious/noControlCharactersInRegex: terminal escape sequences are what is looked for
const ESCAPES = /\u001b\[[0-9;?]*[ -/]*[@-~]/g;
/** Control and format characters, line and paragraph separators. */
const HIDDEN_RUNS = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu;

/**
 * A job's or backend's text made fit to store and show: control characters, line ends, terminal escapes and invisible
 * formatting out, well-formed Unicode, at most 4 KiB of UTF-8. Of a longer text the first KiB stays (what failed) and the end
 * (a traceback's last lines say why).
 */
export function cleanMessage(text: string): string {
  const plain = text.toWellFormed().replace(ESCAPES, '').replace(HIDDEN_RUNS, ' ').trim();
  const bytes = Buffer.from(plain, 'utf8');
  if (bytes.length <= MESSAGE_LIMIT_BYTES) return plain;
  const tailBytes = MESSAGE_LIMIT_BYTES - HEAD_BYTES - Buffer.byteLength(CUT);
  const head = bytes.subarray(0, wholeUntil(bytes, HEAD_BYTES));
  const tail = bytes.subarray(wholeFrom(bytes, bytes.length - tailBytes));
  return `${head.toString('utf8')}${CUT}${tail.toString('utf8')}`;
}

function isContinuation(byte: number | undefined): boolean {
  return byte !== undefined && (byte & 0xc0) === 0x80;
}

/** The largest end ≤ `end` that cuts no character in two. */
function wholeUntil(bytes: Buffer, end: number): number {
  let at = end;
  while (at > 0 && isContinuation(bytes[at])) at--;
  return at;
}

/** The smallest start ≥ `start` that cuts no character in two. */
function wholeFrom(bytes: Buffer, start: number): number {
  let at = start;
  while (isContinuation(bytes[at])) at++;
  return at;
}
