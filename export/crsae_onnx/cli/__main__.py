import sys

from crsae_onnx.cli.entry import main

sys.exit(main())
