import { sameHash } from '../../core/merkle.ts';
import { verifyNote } from './checkpoint.ts';
import type { Findings } from './findings.ts';
import type { JsonObject } from './lines.ts';
import type { Roots } from './roots.ts';
import { holdRestarts, tellsOf, untoldOf, WitnessGenerations } from './witness-generations.ts';
import { RESTARTED, type RestartRecord, readWitness } from './witness-record.ts';

/**
 * What a witness has seen, for a check of a chain against it: of the newest generation each size with its root. About 100 bytes of memory a record.
 */
export interface Witnessed {
  readonly generation: number;
  readonly roots: ReadonlyMap<number, Uint8Array>;
  /** The largest size; 0: it has seen nothing. */
  readonly size: number;
  readonly restarts: readonly RestartRecord[];
  /** What is wrong with how its generations follow one another. */
  readonly problem: string | undefined;
}

export interface WitnessedReader {
  /** A record with its newline; says what is wrong with it, if anything. */
  push(record: Uint8Array): string | undefined;
  end(): Witnessed;
}

/** Records, the newest generation first, of which each is held to its signature: the keys of one that was left behind may have windows that nobody knows any more. */
export function witnessedReader(roots: Roots): WitnessedReader {
  let generation = 0;
  let seen = new Map<number, Uint8Array>();
  let size = 0;
  const restarts: RestartRecord[] = [];
  const generations = new WitnessGenerations();
  return {
    push: (bytes) => {
      const record = readWitness(bytes);
      if (record === undefined) return 'is no record of a witness';
      generations.take(record);
      if (record.generation > generation) {
        generation = record.generation;
        seen = new Map();
        size = 0;
      }
      if (record.kind === 'restart') {
        restarts.push(record);
        return undefined;
      }
      if (record.generation < generation) return undefined;
      const check = verifyNote(record.note, roots);
      if (!check.ok) return check.problem;
      const { treeSize, rootHash } = check.checkpoint;
      const other = seen.get(treeSize);
      if (other !== undefined && !sameHash(other, rootHash))
        return `is another trail of ${treeSize} events than one before it`;
      seen.set(treeSize, rootHash);
      size = Math.max(size, treeSize);
      return undefined;
    },
    end: () => ({ generation, roots: seen, size, restarts, problem: generations.problem() }),
  };
}

export interface WitnessCheck {
  event(event: JsonObject): void;
  /** The tree after an event. */
  grown(size: number, root: () => Uint8Array): void;
  /** Generations whose restarts the trail lost, as later ones say, oldest first. */
  end(size: number): readonly number[];
}

/** A trail that its witness has seen, and no other; 12 where it is only shorter. */
export function witnessCheck(witnessed: Witnessed, findings: Findings): WitnessCheck {
  const told = new Set<number>();
  return {
    event: (event) => {
      if (event.type !== RESTARTED) return;
      for (const record of witnessed.restarts) if (tellsOf(event, record)) told.add(record.generation);
    },
    grown: (size, root) => {
      const seen = witnessed.roots.get(size);
      if (seen !== undefined && !sameHash(seen, root()))
        findings.tampered(0, 'witness', `has seen other events than the first ${size}`, size - 1);
    },
    end: (size) => {
      if (witnessed.problem !== undefined) findings.tampered(0, 'witness', `is not whole: ${witnessed.problem}`);
      const { untold, lost } = holdRestarts(witnessed.restarts, told);
      if (size < witnessed.size) findings.shorter(`has seen ${witnessed.size} events, and these are ${size}`);
      else
        for (const { generation } of untold)
          findings.tampered(0, 'witness', `knows of a restart ${untoldOf(generation)}`);
      return lost.map(({ generation }) => generation).sort((a, b) => a - b);
    },
  };
}
