// A vitest reporter that counts for bin/test.mjs: passed, failed and skipped tests, and why each was skipped.
import { writeFileSync } from 'node:fs';

export default class CountingReporter {
  onTestRunEnd(modules, unhandledErrors) {
    const counts = { passed: 0, failed: unhandledErrors.length, skipped: 0, skips: [] };
    for (const module of modules) {
      let inModule = 0;
      for (const test of module.children.allTests()) {
        const result = test.result();
        inModule += result.state === 'failed' ? 1 : 0;
        if (result.state === 'passed') counts.passed++;
        else if (result.state === 'failed') counts.failed++;
        else {
          counts.skipped++;
          counts.skips.push(
            `${module.relativeModuleId ?? module.moduleId}: ${test.fullName}: ${result.note ?? 'no reason given'}`,
          );
        }
      }
      // A file that does not load has no tests to fail.
      if (inModule === 0 && module.state() === 'failed') counts.failed++;
    }
    if (process.env.MERIT_TEST_COUNTS !== undefined)
      writeFileSync(process.env.MERIT_TEST_COUNTS, JSON.stringify(counts));
  }
}
