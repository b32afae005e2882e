/** Control and format characters, line and paragraph separators: what a reader does not see, or a terminal obeys. */
const HIDDEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u;
const HIDDEN_RUNS = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu;
const HIDDEN_OR_TORN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

export function hasHidden(text: string): boolean {
  return HIDDEN.test(text);
}

/** Each run of them as one space; none at the ends. */
export function withoutHidden(text: string): string {
  return text.replace(HIDDEN_RUNS, ' ').trim();
}

/** Each as `\u{…}`, halves of surrogate pairs too, so that a person sees what is there. */
export function escapeHidden(text: string): string {
  return text.replace(HIDDEN_OR_TORN, (char) => `\\u{${char.codePointAt(0)!.toString(16)}}`);
}
