import { createHash } from 'node:crypto';
import { OperatingError } from '../../core/operating-error.ts';
import { p256Key } from '../../core/p256.ts';
import { formatRfc3339, parseRfc3339 } from '../../core/rfc3339.ts';
import type { Signer } from '../../platform/signer.ts';
import { checkSignature, type Roots, verifyWithKey } from './roots.ts';

/**
 * A signed checkpoint of the audit tree, as a C2SP signed note (c2sp.org/signed-note, c2sp.org/tlog-checkpoint):
 *
 *   merit/audit                                              origin
 *   1234                                                     tree size
 *   AbC…=                                                    base64 of the root
 *   time 2026-11-23T10:00:00.000Z                            ours: when it was signed
 *   key ed25519:0123456789abcdef                             ours: the pinned key
 *                                                            (an empty line)
 *   — merit/audit <base64 of 4 bytes of key hash ‖ signature>
 *
 * The signature is over everything up to the empty line, the last newline included: 64 bytes of Ed25519, or DER of ECDSA. With OpenSSL alone:
 * docs/audit.md.
 */
export interface Checkpoint {
  readonly origin: string;
  readonly treeSize: number;
  readonly rootHash: Uint8Array;
  readonly atMs: number;
  readonly keyId: string;
}

export const DEFAULT_ORIGIN = 'merit/audit';

/** C2SP algorithm bytes of a key hash. */
const ALGORITHM_BYTE = { ed25519: 1, 'ecdsa-p256-sha256': 2 } as const;
const KEY_HASH_BYTES = 4;

/** The signed part, with its last newline. */
function checkpointBody(checkpoint: Checkpoint): string {
  const { origin, treeSize, rootHash, atMs, keyId } = checkpoint;
  const root = Buffer.from(rootHash).toString('base64');
  return `${origin}\n${treeSize}\n${root}\ntime ${formatRfc3339(atMs)}\nkey ${keyId}\n`;
}

/** SHA-256(name ‖ 0x0A ‖ algorithm ‖ key)[:4]; for ECDSA, as the specification says, SHA-256(SPKI)[:4]. */
function keyHash(name: string, algorithm: Signer['algorithm'], publicKey: Uint8Array): Buffer {
  const hash = createHash('sha256');
  if (algorithm === 'ed25519') {
    hash.update(`${name}\n`).update(Uint8Array.of(ALGORITHM_BYTE.ed25519)).update(publicKey);
  } else {
    hash.update(p256Key(publicKey).export({ format: 'der', type: 'spki' }));
  }
  return hash.digest().subarray(0, KEY_HASH_BYTES);
}

/** The whole note. Throws OperatingError where the signer is away or what it returns is not its signature. */
export async function signCheckpoint(signer: Signer, checkpoint: Omit<Checkpoint, 'keyId'>): Promise<string> {
  // Read together with the call: who signs may be another key after it.
  const { keyId, algorithm, publicKey } = signer;
  const body = checkpointBody({ ...checkpoint, keyId });
  const message = Buffer.from(body, 'utf8');
  const signature = await signer.sign(message);
  if (!verifyWithKey(algorithm, publicKey, message, signature)) {
    throw new OperatingError('bad-reply', 'safe', 'signing an audit checkpoint: the signature does not verify');
  }
  const hash = keyHash(checkpoint.origin, algorithm, publicKey);
  return `${body}\n${signatureLine(checkpoint.origin, Buffer.concat([hash, signature]))}`;
}

function signatureLine(name: string, hashAndSignature: Uint8Array): string {
  return `— ${name} ${Buffer.from(hashAndSignature).toString('base64')}\n`;
}

export interface ParsedNote {
  readonly checkpoint: Checkpoint;
  /** The signed bytes. */
  readonly body: Buffer;
  readonly keyHash: Buffer;
  readonly signature: Buffer;
}

const NOTE =
  /^([^\s+]{1,255})\n(0|[1-9][0-9]{0,15})\n([A-Za-z0-9+/]{43}=)\ntime ([0-9TZ:.-]{24})\nkey ([\x21-\x7e]{1,128})\n\n— ([^\s+]{1,255}) ([A-Za-z0-9+/]+=*)\n$/;

/** undefined where the text is not exactly what `signCheckpoint` would write for its own content. */
export function parseNote(text: string): ParsedNote | undefined {
  const match = NOTE.exec(text);
  if (match === null) return undefined;
  const [, origin, size, root, time, keyId, name, signed] = match as unknown as string[];
  const atMs = parseRfc3339(time!);
  const treeSize = Number(size);
  if (atMs === undefined || !Number.isSafeInteger(treeSize) || name !== origin) return undefined;
  const checkpoint = { origin: origin!, treeSize, rootHash: Buffer.from(root!, 'base64'), atMs, keyId: keyId! };
  const hashAndSignature = Buffer.from(signed!, 'base64');
  if (hashAndSignature.length <= KEY_HASH_BYTES) return undefined;
  const body = checkpointBody(checkpoint);
  if (`${body}\n${signatureLine(origin!, hashAndSignature)}` !== text) return undefined;
  return {
    checkpoint,
    body: Buffer.from(body, 'utf8'),
    keyHash: hashAndSignature.subarray(0, KEY_HASH_BYTES),
    signature: hashAndSignature.subarray(KEY_HASH_BYTES),
  };
}

export type NoteCheck =
  | { readonly ok: true; readonly checkpoint: Checkpoint }
  | { readonly ok: false; readonly problem: string };

/** Reads a note and checks its signature by the pinned roots, at the time it says it was signed. */
export function verifyNote(text: string, roots: Roots): NoteCheck {
  const note = parseNote(text);
  if (note === undefined) return { ok: false, problem: 'is not a checkpoint in its one form' };
  const { checkpoint } = note;
  const key = roots.keys.get(checkpoint.keyId);
  if (key === undefined) return { ok: false, problem: `is signed by ${checkpoint.keyId}, which is not pinned` };
  if (!keyHash(checkpoint.origin, key.algorithm, key.publicKey).equals(note.keyHash)) {
    return { ok: false, problem: 'has another key’s hash in its signature line' };
  }
  switch (checkSignature(roots, checkpoint.keyId, checkpoint.atMs, note.body, note.signature)) {
    case 'ok':
      return { ok: true, checkpoint };
    case 'outside_window':
      return { ok: false, problem: `is signed outside the validity window of ${checkpoint.keyId}` };
    case 'unknown_key':
    case 'bad_signature':
      return { ok: false, problem: `has a signature that is not of ${checkpoint.keyId}` };
  }
}
