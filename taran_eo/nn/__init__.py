"""Networks in torch: Thin U-Net, fake quantization that is exact in its formats, and lowering to the integer graph."""
