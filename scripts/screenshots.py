#!/usr/bin/env python3
"""Takes the README's pictures, docs/images/*.png, of a real `webchat local`: `make screenshots`.

The work is in tests/browser/readme.js, on the stage of the browser tests.
"""

import sys

import tools

if __name__ == "__main__":
    if not tools.have_node():
        sys.exit("needs Node 20 and npm, which are not on the PATH")
    try:
        tools.install_browser()
    except tools.Missing as missing:
        sys.exit(str(missing))
    tools.run("npm", "run", "--silent", "screenshots", "--prefix", tools.BROWSER_FOLDER)
