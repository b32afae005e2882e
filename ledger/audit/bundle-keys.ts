import type { Checkpoint } from './checkpoint.ts';
import type { Findings } from './findings.ts';
import { ROTATED } from './key-history.sql.ts';
import { isObject, type JsonObject } from './lines.ts';

/**
 * That each checkpoint is signed by the key whose turn it is. A window of time is not enough: whoever stole a retired key writes what time he likes.
 * So its end is a place in the log: `signer.rotated` tells of the change, the first checkpoint over it is the old key's last, and no other event
 * brings another key. Nor does the time of checkpoints ever go back.
 */
export interface BundleKeys {
  event(line: number, event: JsonObject, seq: number): void;
  checkpoint(line: number, checkpoint: Checkpoint): void;
}

export function bundleKeys(findings: Findings): BundleKeys {
  let turn: string | undefined;
  let next: string | undefined;
  let lastMs = Number.NEGATIVE_INFINITY;
  return {
    event: (line, event, seq) => {
      if (event.type !== ROTATED) return;
      const { from, to } = isObject(event.data) ? event.data : {};
      if (typeof to !== 'string' || (turn !== undefined && from !== turn) || next !== undefined) {
        findings.tampered(line, 'event.data', 'goes over to another key out of turn', seq);
        return;
      }
      turn ??= typeof from === 'string' ? from : undefined;
      next = to;
    },
    checkpoint: (line, { keyId, atMs }) => {
      turn ??= keyId;
      if (keyId !== turn) findings.tampered(line, 'note', `is signed by ${keyId}, and it is the turn of ${turn}`);
      if (atMs < lastMs) findings.tampered(line, 'note', 'is signed before one that it follows');
      lastMs = Math.max(lastMs, atMs);
      turn = next ?? turn;
      next = undefined;
    },
  };
}
