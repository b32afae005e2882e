import { canonicalBytes } from '../../core/canonical.ts';
import { appendLeaves, type CompactRange, EMPTY_RANGE, leafHash, rootOfRange, sameHash } from '../../core/merkle.ts';
import { auditEventId } from './append.ts';
import { type BundleKeys, bundleKeys } from './bundle-keys.ts';
import type { WitnessCheck } from './bundle-witness.ts';
import { type Checkpoint, parseNote, verifyNote } from './checkpoint.ts';
import type { Coverage } from './coverage.ts';
import type { Findings } from './findings.ts';
import { hasMembers, isCount, isHex64, isObject, type JsonObject, lineText } from './lines.ts';
import type { Roots } from './roots.ts';

/**
 * The audit export: the whole log up to a checkpoint.
 *
 *   {"type":"header","format":"merit-audit-bundle/1","origin":…,"treeSize":N,"events":N,"checkpoints":M}
 *   {"type":"checkpoint","note":…}                    the final one
 *   {"type":"event","seq":0,"leaf":<hex>,"event":{…}} … with each earlier checkpoint after the event that completes it
 *
 * An event is inside its line as it was stored: the canonical form of the whole contains the canonical form of the part. Where the stored
 * bytes are not canonical JSON any more (somebody changed the table), the line has `raw`, their base64, instead.
 */
export const BUNDLE_FORMAT = 'merit-audit-bundle/1';

export function bundleHeaderLine(origin: string, treeSize: number, checkpoints: number): string {
  return lineText({ type: 'header', format: BUNDLE_FORMAT, origin, treeSize, events: treeSize, checkpoints });
}

export function checkpointLine(note: string): string {
  return lineText({ type: 'checkpoint', note });
}

export function bundleEventLine(seq: number, leaf: Uint8Array, bytes: Uint8Array): string {
  return lineText({ type: 'event', seq, leaf: Buffer.from(leaf).toString('hex'), ...eventMember(bytes) });
}

/** `event` where the bytes are canonical JSON, else `raw`. */
export function eventMember(bytes: Uint8Array): JsonObject {
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes).toString('utf8'));
    if (isObject(value) && canonicalBytes(value).equals(bytes)) return { event: value };
  } catch {
    // Told below.
  }
  return { raw: Buffer.from(bytes).toString('base64') };
}

export interface BundleSummary {
  readonly kind: 'bundle';
  readonly origin: string;
  readonly events: number;
  readonly treeSize: number;
  readonly checkpoints: number;
  /** RFC 3339, of the final checkpoint; undefined where there is no good one. */
  readonly sealedAtMs: number | undefined;
  readonly keyIds: readonly string[];
  /** Restarts of the witness that the chain lost, by generation, where it is held against one that knows of any: a later one says so. */
  readonly lostRestarts?: readonly number[];
}

/** Checks one line after the other; the header was read before. */
export interface BundleChecker {
  line(number: number, line: JsonObject): void;
  end(): BundleSummary;
}

interface State {
  range: CompactRange;
  final: Checkpoint | undefined;
  checkpoints: number;
  /** A line was out of order or not to be read: what follows from position is no longer told. */
  derailed: boolean;
  readonly lastNumbers: Map<string, number>;
  readonly keyIds: Set<string>;
  readonly keys: BundleKeys;
}

/** What a chain is held against beside its own signatures. */
export interface Against {
  readonly witness?: WitnessCheck | undefined;
  readonly coverage?: Coverage | undefined;
}

export function bundleChecker(
  header: JsonObject,
  roots: Roots,
  findings: Findings,
  against: Against = {},
): BundleChecker {
  const state: State = {
    range: EMPTY_RANGE,
    final: undefined,
    checkpoints: 0,
    derailed: false,
    lastNumbers: new Map(),
    keyIds: new Set(),
    keys: bundleKeys(findings),
  };
  if (!hasMembers(header, 'type', 'format', 'origin', 'treeSize', 'events', 'checkpoints')) {
    findings.tampered(1, '', 'has other members than a header');
  }
  const events = isCount(header.events) ? header.events : 0;
  if (!isCount(header.events) || header.treeSize !== header.events) {
    findings.tampered(1, 'events', 'is not the size of the tree');
  }
  if (header.events === 0) findings.incomplete(1, 'events', 'is 0: the bundle is empty');
  return {
    line: (number, line) => {
      if (line.type === 'checkpoint') checkCheckpoint(state, header, number, line, roots, findings);
      else if (line.type === 'event') {
        checkEvent(state, events, number, line, findings);
        if (!state.derailed) compareEvent(state, line, against);
      } else findings.tampered(number, 'type', 'is neither event nor checkpoint');
    },
    end: () => {
      finish(state, header, events, findings);
      const isWhole = !findings.has('tampered') && !findings.has('incomplete');
      const lost = isWhole ? (against.witness?.end(state.range.size) ?? []) : [];
      against.coverage?.end(findings);
      return {
        kind: 'bundle',
        origin: String(header.origin),
        events: state.range.size,
        treeSize: events,
        checkpoints: state.checkpoints,
        sealedAtMs: state.final?.atMs,
        keyIds: [...state.keyIds],
        ...(lost.length === 0 ? {} : { lostRestarts: lost }),
      };
    },
  };
}

function compareEvent(state: State, line: JsonObject, { witness, coverage }: Against): void {
  const { range } = state;
  witness?.grown(range.size, () => rootOfRange(range));
  if (!isObject(line.event)) return;
  witness?.event(line.event);
  coverage?.event(line.event);
}

function checkCheckpoint(
  state: State,
  header: JsonObject,
  number: number,
  line: JsonObject,
  roots: Roots,
  findings: Findings,
): void {
  state.checkpoints++;
  if (!hasMembers(line, 'type', 'note') || typeof line.note !== 'string') {
    findings.tampered(number, '', 'is not a checkpoint line');
    return;
  }
  const check = verifyNote(line.note, roots);
  if (!check.ok) {
    findings.tampered(number, 'note', check.problem);
    // The final one is still what the events are compared with.
    if (number === 2) state.final = parseNote(line.note)?.checkpoint;
    return;
  }
  const { checkpoint } = check;
  state.keyIds.add(checkpoint.keyId);
  if (checkpoint.origin !== header.origin) findings.tampered(number, 'note', 'is of another log than the header says');
  if (number === 2) {
    state.final = checkpoint;
    if (checkpoint.treeSize !== header.treeSize)
      findings.tampered(number, 'note', 'is not of the tree the header names');
    return;
  }
  if (!state.derailed) state.keys.checkpoint(number, checkpoint);
  if (checkpoint.treeSize !== state.range.size) {
    findings.tampered(number, 'note', `stands after ${state.range.size} events and seals ${checkpoint.treeSize}`);
  } else if (!state.derailed && !sameHash(checkpoint.rootHash, rootOfRange(state.range))) {
    findings.tampered(number, 'note', `has another root than the ${state.range.size} events before it`);
  }
}

function checkEvent(state: State, events: number, number: number, line: JsonObject, findings: Findings): void {
  const seq = isCount(line.seq) ? line.seq : undefined;
  const expected = state.range.size;
  if (number === 2) findings.tampered(2, 'type', 'must be the final checkpoint');
  if (seq !== expected && !state.derailed) {
    const problem =
      seq === undefined
        ? 'is not a number'
        : seq > expected
          ? `is ${seq}: ${expected} is missing`
          : `comes after ${expected - 1}`;
    findings.tampered(number, 'seq', problem, expected);
    state.derailed = true;
  }
  if (expected >= events) findings.tampered(number, '', 'is more than the header says', seq);
  if (!hasMembers(line, 'type', 'seq', 'leaf', 'event') || !isObject(line.event) || !isHex64(line.leaf)) {
    const problem = 'raw' in line ? 'holds bytes that are no event' : 'is not an event line';
    findings.tampered(number, '', problem, seq);
    state.derailed = true;
    state.range = appendLeaves(state.range, [leafHash(new Uint8Array(0))]).range;
    return;
  }
  const leaf = leafHash(canonicalBytes(line.event));
  if (Buffer.from(leaf).toString('hex') !== line.leaf)
    findings.tampered(number, 'leaf', 'is not the hash of the event', seq);
  state.range = appendLeaves(state.range, [leaf]).range;
  const problem = eventProblem(line.event);
  if (problem !== undefined) {
    findings.tampered(number, `event.${problem.field}`, problem.problem, seq);
    return;
  }
  if (!state.derailed) state.keys.event(number, line.event, expected);
  const { tenant, subject, n } = line.event as { tenant: string; subject: string; n: number };
  const key = `${tenant}\n${subject}`;
  const last = state.lastNumbers.get(key) ?? 0;
  if (n !== last + 1 && !state.derailed) {
    findings.tampered(number, 'event.n', `is ${n} after ${last} of ${subject}`, seq);
  }
  state.lastNumbers.set(key, n);
}

/** The head that every audit event has, whoever wrote it. */
export function eventProblem(event: JsonObject): { readonly field: string; readonly problem: string } | undefined {
  if (!hasMembers(event, 'v', 'id', 'tenant', 'subject', 'n', 'type', 'at', 'actor', 'trace', 'data')) {
    return { field: '', problem: 'has other members than an audit event' };
  }
  if (event.v !== 1) return { field: 'v', problem: 'is not 1' };
  for (const field of ['id', 'tenant', 'subject', 'type', 'at', 'actor', 'trace'] as const) {
    if (typeof event[field] !== 'string') return { field, problem: 'is not text' };
  }
  if (!isCount(event.n) || event.n < 1) return { field: 'n', problem: 'is not a number from 1' };
  if (!isObject(event.data)) return { field: 'data', problem: 'is not an object' };
  if (event.id !== auditEventId(event.tenant as string, event.subject as string, event.n)) {
    return { field: 'id', problem: 'is not the id of this subject and number' };
  }
  return undefined;
}

function finish(state: State, header: JsonObject, events: number, findings: Findings): void {
  const { size } = state.range;
  // An empty bundle is told as that, whatever else it lacks.
  if (events === 0 && size === 0) return;
  if (state.final === undefined && !findings.has('tampered')) findings.incomplete(0, '', 'has no checkpoint');
  if (size < events) {
    findings.incomplete(0, 'events', `are ${size} of the ${events} in the header`);
    return;
  }
  if (header.checkpoints !== state.checkpoints) {
    findings.tampered(1, 'checkpoints', `is not the ${state.checkpoints} of the file`);
  }
  if (state.final !== undefined && size === events && !state.derailed) state.keys.checkpoint(2, state.final);
  if (state.final !== undefined && size === events && !sameHash(state.final.rootHash, rootOfRange(state.range))) {
    findings.tampered(2, 'note', `has another root than the ${size} events`);
  }
}
