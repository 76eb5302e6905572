"""What the tests' small tokenizer learns from."""

TEXTS = [
    "The quick brown fox jumps over the lazy dog, 12 times in 2024. " * 3,
    "def fox(dog):\n    return dog + 1  # it's lazy\n" * 3,
    "你好，世界！今天天气很好，我们去公园散步吧。机器学习很有意思。" * 4,
    "naïve café — “quotes” 😀🎉 " * 3,
]
