/** What the CDK runs (cdk.json). A value that cannot be used ends in one line that begins with `webchat:`. */
import { join } from 'node:path';
import { webchat } from '../lib/app.ts';
import { ConfigError } from '../lib/config.ts';

const BUNDLES = join(import.meta.dirname, '..', '..', 'target', 'lambda');

try {
  webchat((arch) => join(BUNDLES, arch, 'bootstrap.zip')).app.synth();
} catch (error) {
  if (!(error instanceof ConfigError)) {
    throw error;
  }
  console.error(`webchat: ${error.message}`);
  process.exit(1); // at once: the CDK would synthesise what is there when the process ends
}
