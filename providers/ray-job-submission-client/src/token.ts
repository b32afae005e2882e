import { RayJobError } from './errors.ts';

/** The bearer token, or how to read it. A function is asked once, and once more each time Ray refuses what it gave. */
export type Token = string | (() => Promise<string>);

export class TokenSource {
  readonly #read: (() => Promise<string>) | undefined;
  #current: Promise<string> | undefined;

  constructor(token: Token | undefined) {
    this.#read = typeof token === 'function' ? token : undefined;
    this.#current = typeof token === 'string' ? Promise.resolve(checked(token)) : undefined;
  }

  /** The Authorization header's value, or undefined without a token. "Bearer" is case-sensitive in Ray. */
  async header(): Promise<string | undefined> {
    if (this.#current === undefined) {
      if (this.#read === undefined) return undefined;
      const reading = this.#read().then(checked);
      this.#current = reading;
      reading.catch(() => {
        if (this.#current === reading) this.#current = undefined;
      });
    }
    return `Bearer ${await this.#current}`;
  }

  /** Reads the token again after `refused` was refused; the new header, or undefined when there is no other one. */
  async renewed(refused: string | undefined): Promise<string | undefined> {
    if (this.#read === undefined) return undefined;
    this.#current = undefined;
    const header = await this.header();
    return header === refused ? undefined : header;
  }
}

function checked(token: string): string {
  const text = token.trim();
  if (text === '') throw new RayJobError('auth', 'the Ray token is empty');
  if (!/^[\x21-\x7e]+$/.test(text))
    throw new RayJobError('auth', 'the Ray token has characters that no header can carry');
  return text;
}
