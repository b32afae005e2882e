import {
  type Document,
  isAlias,
  isScalar,
  LineCounter,
  type ParsedNode,
  parseAllDocuments,
  parseDocument,
  stringify,
  visit,
  type YAMLError,
} from 'yaml';
import { type Refusal, refuse } from '../core/refusal.ts';

/** Aliases a document may hold: configuration needs few, and a bomb needs many. */
const MAX_ALIASES = 100;
/** Faults told at once; one broken bracket can cause thousands. */
const MAX_FAULTS = 20;
const INDENT = 2;
/** `010` is 8 to YAML 1.1 and 10 to 1.2; `0x10`, `0o10` and `.inf` are no JSON. */
const PLAIN_NUMBER = /^[-+]?(0|[1-9][0-9]*)?(\.[0-9]+|(?<=[0-9])\.)?([eE][-+]?[0-9]+)?$/;

export type YamlReading =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly refusals: readonly Refusal[] };

/**
 * Reads one YAML 1.2 document (core schema, of which JSON is a part): no custom tags, no merge keys, no second document,
 * no key twice. Refusals carry line and column in `field`, e.g. `line 3, column 7`.
 */
export function parseYaml(text: string): YamlReading {
  return guarded(() => {
    const lines = new LineCounter();
    return readingOf(parseDocument(text, options(lines)), lines);
  });
}

/** Reads all documents of a text, those between `---` that say nothing left out. As `parseYaml` otherwise; `value` is their list. */
export function parseYamlDocuments(text: string): YamlReading {
  return guarded(() => {
    const lines = new LineCounter();
    const readings = [...parseAllDocuments(text, options(lines))].map((document) => readingOf(document, lines));
    const refusals = readings.flatMap((reading) => (reading.ok ? [] : reading.refusals)).slice(0, MAX_FAULTS);
    if (refusals.length > 0) return { ok: false, refusals };
    return {
      ok: true,
      value: readings.flatMap((reading) => (reading.ok && reading.value !== null ? [reading.value] : [])),
    };
  });
}

function guarded(read: () => YamlReading): YamlReading {
  try {
    return read();
  } catch (error) {
    // The parser recurses: nesting beyond the stack surfaces as a RangeError; an alias bomb as a ReferenceError.
    if (error instanceof RangeError) {
      return { ok: false, refusals: [refuse('depth', '', 'is nested too deeply', 'flatten it')] };
    }
    if (error instanceof ReferenceError) {
      return { ok: false, refusals: [refuse('aliases', '', 'has aliases that multiply', 'write the values out')] };
    }
    throw error;
  }
}

function options(lineCounter: LineCounter) {
  return {
    lineCounter,
    version: '1.2',
    schema: 'core',
    merge: false,
    strict: true,
    stringKeys: true,
    uniqueKeys: true,
    resolveKnownTags: false,
    // 'silent' would also hide a second document.
    logLevel: 'error',
    prettyErrors: true,
  } as const;
}

function readingOf(document: Document.Parsed<ParsedNode>, lines: LineCounter): YamlReading {
  // An unknown tag is only a warning to the parser, and its value would pass as plain text.
  const faults = [...document.errors, ...document.warnings];
  if (faults.length > 0) return { ok: false, refusals: faults.slice(0, MAX_FAULTS).map(refusalOf) };
  let aliases = 0;
  const numbers: Refusal[] = [];
  visit(document, (_key, node) => {
    if (isAlias(node)) aliases++;
    if (isScalar(node) && typeof node.value === 'number' && !PLAIN_NUMBER.test(node.source ?? '')) {
      const { line, col } = lines.linePos(node.range?.[0] ?? 0);
      const problem = 'is a number that readers take differently';
      numbers.push(refuse('ambiguous_number', `line ${line}, column ${col}`, problem, 'write it in plain decimal'));
    }
  });
  if (numbers.length > 0) return { ok: false, refusals: numbers.slice(0, MAX_FAULTS) };
  if (aliases > MAX_ALIASES) {
    const problem = `holds more than ${MAX_ALIASES} aliases`;
    return { ok: false, refusals: [refuse('aliases', '', problem, 'write the values out')] };
  }
  return { ok: true, value: document.toJS({ maxAliasCount: MAX_ALIASES }) };
}

function refusalOf(error: YAMLError): Refusal {
  const at = error.linePos?.[0];
  const field = at === undefined ? '' : `line ${at.line}, column ${at.col}`;
  // The first line only: the rest quotes the document, which may hold a secret.
  const problem = (error.message.split('\n')[0] ?? '').replace(/ at line \d+, column \d+:?$/, '');
  return refuse('yaml_syntax', field, problem, 'mend the YAML');
}

/** A JSON value as YAML 1.2. */
export function stringifyYaml(value: unknown): string {
  return stringify(value, {
    version: '1.2',
    schema: 'core',
    indent: INDENT,
    lineWidth: 0,
    aliasDuplicateObjects: false,
  });
}
