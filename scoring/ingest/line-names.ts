import { STRIDE_ROWS } from './batch.ts';
import type { NativeRows } from './native-rows.ts';
import type { LogLine } from './read-lines.ts';
import type { Routing } from './routing.ts';
import { type SuiteRef, suiteKey } from './suite-state.sql.ts';

export interface ModelRef {
  readonly tenant: string;
  readonly model: string;
}

/** What a transaction looks up for lines before their effects are drawn. */
export interface LineNames {
  readonly suites: readonly SuiteRef[];
  readonly models: readonly ModelRef[];
}

/** Each name once; lines that belong to another partition name nothing here. */
export class Names implements LineNames {
  readonly #routing: Routing;
  readonly #suites = new Map<string, SuiteRef>();
  readonly #models = new Map<string, ModelRef>();

  constructor(routing: Routing) {
    this.#routing = routing;
  }

  get suites(): readonly SuiteRef[] {
    return [...this.#suites.values()];
  }

  get models(): readonly ModelRef[] {
    return [...this.#models.values()];
  }

  addLine(line: LogLine): void {
    const { message, reading } = line;
    if (!reading.ok || this.#routing.lineRoute(line) !== undefined) return;
    this.#add(message.tenant, reading.report.suite, reading.report.model);
  }

  /** A name is looked up once a number of the kernel's. */
  addRows(rows: NativeRows, from: number, to: number): void {
    const suites: boolean[] = [];
    const models: boolean[] = [];
    for (let row = from; row < to; row += STRIDE_ROWS) {
      this.#addSome(rows, row, Math.min(row + STRIDE_ROWS, to), suites, models);
    }
  }

  #addSome(rows: NativeRows, from: number, to: number, suites: boolean[], models: boolean[]): void {
    for (let row = from; row < to; row++) {
      if (!rows.isRead(row)) {
        this.addLine(rows.lineAt(row));
        continue;
      }
      const [suite, model] = [rows.suite[row]!, rows.model[row]!];
      if (suites[suite] === true && models[model] === true) continue;
      if (this.#routing.rowRoute(rows, row) !== undefined) continue;
      suites[suite] = true;
      models[model] = true;
      this.#add(rows.tenant, rows.suiteOf(row).name, rows.modelOf(row));
    }
  }

  #add(tenant: string, suite: string, model: string): void {
    this.#suites.set(suiteKey(tenant, suite), { tenant, name: suite });
    this.#models.set(suiteKey(tenant, model), { tenant, model });
  }
}
