import sys

from crsae_onnx.cli.commands import main

sys.exit(main())
