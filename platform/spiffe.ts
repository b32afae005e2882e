import { type Refusal, refuse } from '../core/refusal.ts';

const MAX_ID_LENGTH = 2048;
const SPIFFE_ID = /^spiffe:\/\/([a-z0-9._-]{1,255})((?:\/[A-Za-z0-9._-]+)+)$/;

/** Why a text is no SPIFFE id of a service, or undefined where it is one. Source: the SPIFFE-ID standard, sections 2 and 3. */
export function spiffeRefusal(field: string, text: string): Refusal | undefined {
  const mend = 'write spiffe://<trust domain in lower case>/<service>';
  if (text.includes('*')) return refuse('no_wildcards', field, 'has a wildcard', 'name each service');
  if (text.length > MAX_ID_LENGTH)
    return refuse('spiffe_id', field, `is longer than ${MAX_ID_LENGTH} characters`, mend);
  const path = SPIFFE_ID.exec(text)?.[2];
  if (path === undefined) return refuse('spiffe_id', field, 'is not a SPIFFE id with a path', mend);
  const dots = path.split('/').some((segment) => segment === '.' || segment === '..');
  return dots ? refuse('spiffe_id', field, 'has a path of dots', mend) : undefined;
}

/**
 * The URI subject alternative names of a DER certificate, byte for byte. Read from the certificate and not from Node's
 * `subjectaltname` text, which joins all names with commas. Throws where the certificate is malformed or has the extension twice.
 */
export function uriNamesOf(certificate: Uint8Array): readonly string[] {
  const whole = only(certificate, SEQUENCE);
  const tbs = elements(whole)[0];
  if (tbs?.tag !== SEQUENCE) throw new Error('a certificate begins with its to-be-signed part');
  const wrapped = elements(tbs.content).filter((element) => element.tag === EXTENSIONS);
  const extensions = wrapped.flatMap((element) => elements(only(element.content, SEQUENCE)));
  const names = extensions.filter((extension) => {
    const [id] = elements(extension.content);
    return id?.tag === OBJECT_ID && Buffer.compare(id.content, SUBJECT_ALT_NAME) === 0;
  });
  if (names.length > 1) throw new Error('the certificate has two lists of alternative names');
  return names.flatMap((extension) => {
    const value = elements(extension.content).at(-1);
    if (value?.tag !== OCTET_STRING) throw new Error('an extension ends with its value');
    return elements(only(value.content, SEQUENCE))
      .filter((name) => name.tag === URI_NAME)
      .map((name) => Buffer.from(name.content).toString('latin1'));
  });
}

const SEQUENCE = 0x30;
const OCTET_STRING = 0x04;
const OBJECT_ID = 0x06;
/** TBSCertificate.extensions is [3] EXPLICIT, GeneralName.uniformResourceIdentifier [6] IA5String (RFC 5280 4.1, 4.2.1.6). */
const EXTENSIONS = 0xa3;
const URI_NAME = 0x86;
/** 2.5.29.17 */
const SUBJECT_ALT_NAME = Buffer.from('551d11', 'hex');

interface DerElement {
  readonly tag: number;
  readonly content: Uint8Array;
}

function only(bytes: Uint8Array, tag: number): Uint8Array {
  const [first, ...more] = elements(bytes);
  if (first?.tag !== tag || more.length > 0) throw new Error('a DER element of another kind stands here');
  return first.content;
}

/** The elements that fill `bytes`, one after the other: one-byte tags and definite lengths (X.690), as certificates have. */
function elements(bytes: Uint8Array): readonly DerElement[] {
  const found: DerElement[] = [];
  let at = 0;
  while (at < bytes.length) {
    const tag = bytes[at++];
    let length = bytes[at++];
    if (tag === undefined || length === undefined || (tag & 0x1f) === 0x1f) throw new Error('DER ends early');
    if (length >= 0x80) {
      const count = length - 0x80;
      if (count === 0 || count > 4) throw new Error('DER has a length of no sense');
      length = 0;
      for (let i = 0; i < count; i++) length = length * 256 + (bytes[at++] ?? 0);
    }
    if (at + length > bytes.length) throw new Error('DER ends early');
    found.push({ tag, content: bytes.subarray(at, at + length) });
    at += length;
  }
  return found;
}
