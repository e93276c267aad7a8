"""The claims of the CRsAE paper (Tolooshams, Dey, Ba, arXiv 1904.08827; ICASSP 2020) on images, claim by claim."""
