import { TRANSITIONS } from '../../core/booking.ts';
import { EXTENSION_EVENTS } from '../../core/extension.ts';
import type { Findings } from './findings.ts';
import { hasMembers, isCount, type JsonObject, lineText } from './lines.ts';

/**
 * What the installation says that is so, taken from its tables and not from its trail: each booking with its state, each decision with the event that
 * it names. A chain covers it where every step that led there is told.
 *
 *   {"type":"header","format":"merit-state/1","at":…}
 *   {"type":"booking","tenant":…,"id":…,"state":…,"version":N}   N steps so far, the last of which entered the state
 *   {"type":"decision","tenant":…,"event":…}
 *   {"type":"end","rows":N}
 */
const STATE_FORMAT = 'merit-state/1';

/** Each adds one to a booking's version, and writes one event (ledger/invariants.sql: every_transition_has_its_event). */
const STEPS: ReadonlySet<string> = new Set([
  'booking.created',
  ...Object.keys(TRANSITIONS).map((state) => `booking.${state}`),
  ...Object.values(EXTENSION_EVENTS),
]);
const NO_STATE: ReadonlySet<string> = new Set(Object.values(EXTENSION_EVENTS));

export function stateHeaderLine(at: string): string {
  return lineText({ type: 'header', format: STATE_FORMAT, at });
}

export function bookingStateLine(tenant: string, id: string, state: string, version: number): string {
  return lineText({ type: 'booking', tenant, id, state, version });
}

export function decisionStateLine(tenant: string, event: string): string {
  return lineText({ type: 'decision', tenant, event });
}

export function stateEndLine(rows: number): string {
  return lineText({ type: 'end', rows });
}

interface Claimed {
  readonly state: string;
  readonly version: number;
  steps: number;
  /** That the last of those steps entered. */
  entered: string;
}

/** What a state export claims, to be held against a chain. About 220 bytes of memory a booking, and 70 a decision. */
export interface Coverage {
  event(event: JsonObject): void;
  end(findings: Findings): void;
}

export interface StateReader {
  /** A line of it; says what is wrong with it, if anything. */
  push(line: JsonObject): string | undefined;
  /** undefined: it has no end. */
  end(): Coverage | undefined;
}

export function stateReader(): StateReader {
  const bookings = new Map<string, Claimed>();
  const decisions = new Set<string>();
  let lines = 0;
  let rows = 0;
  let ended = false;
  return {
    push: (line) => {
      if (ended) return 'stands behind the end';
      if (lines++ === 0)
        return line.type === 'header' && line.format === STATE_FORMAT ? undefined : `is not ${STATE_FORMAT}`;
      const { type, tenant, id, state, version, event } = line;
      if (type === 'end') {
        ended = true;
        return line.rows === rows ? undefined : `tells of ${String(line.rows)} rows where ${rows} are`;
      }
      rows++;
      if (type === 'booking' && hasMembers(line, 'type', 'tenant', 'id', 'state', 'version') && isCount(version)) {
        const claimed = { state: String(state), version, steps: 0, entered: '' };
        bookings.set(keyOf(String(tenant), `booking/${String(id)}`), claimed);
      } else if (type === 'decision' && hasMembers(line, 'type', 'tenant', 'event')) decisions.add(String(event));
      else return 'is no line of a state export';
      return undefined;
    },
    end: () => (ended ? coverageOf(bookings, decisions) : undefined),
  };
}

function coverageOf(bookings: ReadonlyMap<string, Claimed>, decisions: Set<string>): Coverage {
  return {
    event: (event) => {
      decisions.delete(String(event.id));
      const claimed = bookings.get(keyOf(String(event.tenant), String(event.subject)));
      const step = String(event.type);
      // What came after the export was made is not its matter.
      if (claimed === undefined || !STEPS.has(step) || claimed.steps === claimed.version) return;
      claimed.steps++;
      if (!NO_STATE.has(step)) claimed.entered = step === 'booking.created' ? 'waiting' : step.slice('booking.'.length);
    },
    end: (findings) => {
      for (const [key, { state, version, steps, entered }] of bookings) {
        const subject = key.slice(key.indexOf('\n') + 1);
        if (steps < version)
          findings.incomplete(0, 'state', `has ${subject} after ${version} steps, of which ${steps} are told`);
        else if (entered !== state)
          findings.tampered(0, 'state', `has ${subject} ${state}, and what is told led to ${entered}`);
      }
      for (const id of decisions) findings.incomplete(0, 'state', `has a decision whose event ${id} is not told`);
    },
  };
}

function keyOf(tenant: string, subject: string): string {
  return `${tenant}\n${subject}`;
}
