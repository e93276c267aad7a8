import sys

from keras_crsae.cli.commands import main

sys.exit(main())
