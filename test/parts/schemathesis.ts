import type { Part } from './harness/part.ts';
import { type PythonCommand, providePythonCommand, pythonCommandMissing, venvPython } from './harness/python.ts';

const COMMAND: PythonCommand = { name: 'schemathesis', requirement: 'schemathesis==4.32.5' };

export interface SchemathesisFacts {
  /** The Python to run `-m schemathesis.cli` with. */
  readonly python: string;
}

/** Makes requests of an OpenAPI document, and holds what is answered to it. A command: nothing runs until a test does. */
export const schemathesis: Part<SchemathesisFacts> = {
  name: 'schemathesis',
  needs: [],
  missing: () => pythonCommandMissing(COMMAND),
  provide: (say) => providePythonCommand(COMMAND, say),
  start: async () => ({ python: venvPython(COMMAND) }),
};
