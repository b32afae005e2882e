import { canonicalBytes, sha256Hex } from '../../core/canonical.ts';
import { formatRfc3339 } from '../../core/rfc3339.ts';
import type { Signer } from '../../platform/signer.ts';
import type { ReadOffsets } from '../ingest/positions.sql.ts';
import {
  type Decision,
  type RecordedAction,
  type RecordedEvidence,
  recordedAction,
  recordedEvidence,
} from '../rules/decision.ts';

/** What is signed. Integers above 2^53 are strings, instants RFC 3339 with milliseconds and Z. */
export interface DecisionRecord {
  readonly v: 1;
  readonly tenant: string;
  readonly suite: string;
  readonly suiteHash: string;
  readonly tick: string;
  /** The version promoted or demoted. */
  readonly model: string;
  readonly action: RecordedAction;
  readonly incumbentBefore: string | null;
  readonly evidence: RecordedEvidence;
  /** SentinelNet's word; null: a demotion asks nobody. */
  readonly policy: { readonly decisionId: string; readonly policyVersion: string; readonly evidence: string } | null;
  /** Partition → offset of the next message when the decision was made; replay decides at the same. */
  readonly offsets: ReadOffsets['offsets'];
  /** Partition → lines done of that message, where one was half read. */
  readonly lines: ReadOffsets['lines'];
  readonly decidedAt: string;
}

/** What is stored, is evidence by its hash, and is checked by a stranger: the signature is over the record's RFC 8785 form. */
export interface SignedDecision {
  readonly record: DecisionRecord;
  readonly keyId: string;
  /** Base64. */
  readonly signature: string;
}

export interface RecordInput {
  readonly tenant: string;
  readonly decision: Decision;
  readonly incumbentBefore: string | null;
  readonly compositeByTick: ReadonlyMap<number, number>;
  readonly policy: DecisionRecord['policy'];
  readonly read: ReadOffsets;
  readonly nowMs: number;
}

export function decisionRecord(input: RecordInput): DecisionRecord {
  const { decision } = input;
  return {
    v: 1,
    tenant: input.tenant,
    suite: decision.suite,
    suiteHash: decision.suiteHash,
    tick: decision.tick,
    model: decision.model,
    action: recordedAction(decision),
    incumbentBefore: input.incumbentBefore,
    evidence: recordedEvidence(decision, input.compositeByTick),
    policy: input.policy,
    offsets: input.read.offsets,
    lines: input.read.lines,
    decidedAt: formatRfc3339(input.nowMs),
  };
}

/** May go over the network: never call it inside a transaction. */
export async function signDecision(signer: Signer, record: DecisionRecord): Promise<SignedDecision> {
  // Read together with the call: who signs may be another key after it.
  const { keyId } = signer;
  const signature = await signer.sign(canonicalBytes(record));
  return { record, keyId, signature: Buffer.from(signature).toString('base64') };
}

/** The stored bytes and their SHA-256, by which audit events name the decision. */
export function sealedDecision(signed: SignedDecision): { readonly bytes: Buffer; readonly hash: string } {
  const bytes = canonicalBytes(signed);
  return { bytes, hash: sha256Hex(bytes) };
}
