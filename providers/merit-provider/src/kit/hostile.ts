import { MESSAGE_LIMIT_BYTES } from '../clean-message.ts';
import { hold, shown } from './check.ts';

/** What shells, JSON, URLs, templates and terminals each take amiss. No NUL: no process can carry one. No CR: logs may turn it into a line end. */
export const HOSTILE_TEXT = `'"$(id)\`id\`;|&\\ %s %n {{x}} \${y} <b>&amp; ?a=b&c#d\u0001\t\n€😀\u202e -- `;

const HIDDEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u;
const LONG_BYTES = 20 * 1024;

/** 20 KiB that begin and end with these words, with control characters throughout. */
export function longHostileText(words: string): string {
  const piece = 'Trace\u001b[31mback\u0007 grün\u202e\n\t';
  return `${words}${piece.repeat(Math.ceil(LONG_BYTES / Buffer.byteLength(piece)))}${words}`;
}

/** Broken unless a text is fit to store and to show. */
export function holdClean(what: string, text: string): void {
  const bytes = Buffer.byteLength(text);
  hold(bytes <= MESSAGE_LIMIT_BYTES, `${what} has ${bytes} bytes, ${MESSAGE_LIMIT_BYTES} are taken`);
  hold(!HIDDEN.test(text), `${what} has control or invisible characters: ${shown(text)}`);
  hold(text.isWellFormed(), `${what} is not well-formed Unicode`);
}
