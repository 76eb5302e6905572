"""Texts of our own on which the safety scores are measured: what should be caught, and what not.

No page was copied. Phone numbers, addresses and names are made up.
"""

# ruff: noqa: E501  (a text a line)

from __future__ import annotations

ADULT = {
    "en": [
        "Watch free porn videos in HD. Hot girls, milf and amateur porn updated daily. 18+ only, enter now.",
        "Live sex cams with horny cam girls waiting for you. Free sex chat, nude cam shows, no sign up.",
        "The best escort service in town. Call girls in every district, erotic massage, adults only. Book tonight.",
        "XXX tube: hardcore porn, anal sex, gangbang and creampie clips. New sex videos every hour.",
        "Lonely and horny? Get laid tonight with adult dating. Hookup tonight, nude pics inside, free sex dating.",
        "She unbuttoned her blouse, naked now, her tits in his hands, wet and horny, moaning as his big cock slid in.",
        "Buy a dildo, vibrator or butt plug at our sex toy shop. Bondage and bdsm gear shipped in plain boxes.",
        "Hentai gallery with uncensored pictures: big tits, threesome, deepthroat. Adults only.",
        "Download the leaked sex tape and nude pics of the star. Sexy, naked, uncensored porn video.",
        "Sexy lingerie models, topless and nude. Erotic photos, kinky fetish sets, hot babes, busty and horny.",
    ],
    "zh": [
        "成人视频在线观看，无码有码全都有，国产自拍每日更新，未满18岁请离开。",
        "同城约炮，一夜情交友，学生妹上门服务，包夜全套服务，联系方式见下。",
        "激情小说大全：人妻、熟女、淫荡少妇，情色小说免费阅读，更新最快。",
        "裸聊直播间，巨乳女优在线表演，大尺度福利姬，点击进入。",
        "三级片、毛片、黄片免费下载，做爱视频高清，女优合集。",
        "情趣用品商城，飞机杯、震动棒、自慰器，成人用品保密发货。",
        "她浑身赤裸，淫水直流，他粗暴地进入，口交之后内射，高潮迭起。",
        "楼凤信息平台，外围女，援交，桑拿会所，特殊服务价格表。",
    ],
}
NOT_ADULT = {
    "en": [
        "Breast cancer screening: women over fifty should see a doctor every two years. Early treatment helps most patients.",
        "Sex education in school reduces teenage pregnancy, a study found. Teachers talk about contraception and consent.",
        "The court heard that the man had shared pornography. The judge sentenced him; police had found sexual images of the victim.",
        "The museum shows a nude by Titian. The naked figure was a scandal in the last century; the painting is now in the gallery.",
        "Middlesex and Essex are counties in England. Sussex lies to the south.",
        "The rooster, or cock, crows at dawn. Great tits and blue tits visit the feeder in winter.",
        "In mammals the sex of the young is set by a chromosome. Sexual selection explains the male bird's plumage.",
        "The government wants porn sites to check ages. Campaigners say the bill protects children from pornography.",
        "She graduated cum laude. The analysis of the dataset took two weeks of hard work.",
        "Dick Turner rode his bicycle from Scunthorpe to Penistone in one day.",
        "For a naked-eye view of the comet, leave the city. A bikini of clouds covered the moon.",
        "The novel was banned for an erotic scene. Critics today find its language restrained.",
    ],
    "zh": [
        "乳腺癌筛查很重要，五十岁以上的女性应每两年到医院检查一次，早期治疗效果好。",
        "学校的性教育课程讲解青春期、避孕和尊重他人，研究表明能够减少意外怀孕。",
        "法院以传播淫秽物品罪判处被告人有期徒刑，公安机关查处了多个色情网站。",
        "展览中有一幅裸体绘画，是十九世纪的作品，画家因此受到批评。",
        "世界杯的激情之夜，球迷们在广场上欢呼庆祝，性感的桑巴舞让气氛更加热烈。",
        "染色体决定动物的性别，雄性的羽毛更鲜艳。",
        "政府打击卖淫嫖娼活动，民警对酒店进行了检查。",
        "这件毛衣的款式很性感，裁剪得体，适合秋天。",
    ],
}
SPAM = {
    "en": [
        "Buy cheap viagra online! Order now, free shipping, lowest price. Cialis and levitra too. Click here, limited time!!!",
        "Best casino bonus 2024. Online casino, slot machine, poker online. Sign up now, claim your bonus, 100% free. Hurry!!!",
        "Payday loan with bad credit? Instant loan, fast cash, no credit check. Apply now, call now, no obligation.",
        "Make money online, work from home. Passive income, financial freedom. Join now, risk free, limited time. Click here!",
        "We offer link building, backlinks, guest post and SEO services. Rank on Google. Contact us today for a free quote. Order now.",
        "Replica watches and replica handbags at the best price. Buy now, free shipping, satisfaction guaranteed. Shop now!",
        "Write my essay! Cheap essay, term papers, essay writing service. Order now, money back, best price. Click here.",
        " ".join(
            [
                "plumber london cheap plumber london best plumber in london emergency plumber call plumber"
            ]
            * 8
        ),
        "\n".join(
            f"Looking for the best dentist in {c}? Our dentist in {c} is the number one choice, call today."
            for c in (
                "Austin",
                "Dallas",
                "Boston",
                "Denver",
                "Miami",
                "Tampa",
                "Reno",
                "Omaha",
                "Tulsa",
                "Fresno",
            )
        ),
        "\n".join(f"[cheap hotel deals {n}](https://site{n}-deals.test/go)" for n in range(45)),
        "\u2705 Crypto signals \u2705 Forex signals \U0001f680\U0001f680 DM me now!!! 100% FREE!!! Click the link in bio!!! Join now \U0001f449\U0001f449 Earn money today!!!",
        "Lose weight fast with keto diet pills! Doctors hate this miracle cure. Order today, free trial, limited time, buy now.",
    ],
    "zh": [
        "专业代开发票，办证刻章，价格优惠，加微信咨询，联系电话13800000000，先到先得，立即咨询。",
        "澳门威尼斯娱乐城，真人娱乐，百家乐，注册送彩金，立即注册，点击进入，名额有限！！！",
        "无抵押贷款，秒到账，信用卡套现，网贷，来电咨询，马上联系，客服热线全天在线。",
        "兼职日结，刷单日赚五百，月入过万不是梦，稳赚不赔，加我微信，扫码进群，名额有限。",
        "祖传秘方，根治各种疑难杂症，无效退款，免费咨询，咨询热线，立即购买，货到付款，包邮。",
        "论文代写，代写论文，代考，快速通过，加qq咨询，最低价，先到先得，欢迎咨询。",
        "高仿包包，精仿手表，A货批发，全网最低，加微信，微信同号，包邮，货到付款。",
        "减肥产品，瘦身丰胸祛斑，限时优惠，立即购买，扫一扫，长按识别二维码，免费领取试用装！！！",
        "上海搬家公司哪家好，上海搬家公司电话，上海搬家公司价格，上海搬家公司排名，" * 8,
        "SEO优化，快速排名，外链，友情链接交换，刷粉，加群，联系电话，马上咨询，限时特价。",
    ],
}
NOT_SPAM = {
    "en": [
        "To install the package, run pip install. Then import it and call the function with a file name. See the guide for details.",
        "The casino district of the old town burned down in 1911. The mayor promised that it would be rebuilt within a year.",
        "We compared three running shoes. The cheapest wears out fast; the best price for the quality is the second. Shipping took two days.",
        "The council agreed to sell the land. Residents may apply until March. Call the office for a form.",
        "Python is a language. Python programs are read by the Python interpreter. A Python module is a file of Python code, and it may import others.",
        "\n".join(
            f"- Fixed {w} in the parser, thanks to a report from a reader."
            for w in ("a crash", "two leaks", "the order", "the date")
        ),
        "Work from home changed how people live. A survey of 2,000 workers found that most want to keep two days a week.",
        "Ingredients: two eggs, flour, milk. Mix well, then fry. Serve hot! Don't miss the syrup.",
        "The bank raised the rate on its loans. Borrowers with bad credit pay more, the regulator said on Monday.",
        "My bitcoin diary: I bought some in 2013, forgot it, and found it again. Nothing in this story is advice.",
        "See [the docs](https://docs.example/a), [the source](https://git.example/b) and [the paper](https://arxiv.example/c) for more on how this works.",
        "BREAKING: the rocket launched at noon! NASA said that all systems work. The crew waved!!",
    ],
    "zh": [
        "安装软件包后，导入模块并调用函数即可，详细说明请参阅文档。",
        "银行上调了贷款利率，监管部门提醒消费者注意风险，不要轻信网贷广告。",
        "警方提醒：凡是称刷单可以赚钱的都是诈骗，请勿扫码转账。",
        "这家餐厅的服务很好，价格也不贵，周末需要提前预约。",
        "图是由顶点和边组成的，图的遍历有深度优先和广度优先两种方法，图的存储可以用邻接表。",
        "博物馆周一闭馆，参观者可以在网站上预约，联系电话见官网。",
        "减肥要靠运动和合理饮食，医生不建议服用来路不明的药物。",
        "春天到了，公园里的樱花开了，许多市民前来拍照！",
        "公司公布了第三季度财报，营收同比增长百分之十二。",
        "请在下方点击链接下载试卷，考试时间为两个小时。",
    ],
}
PERSONAL = {
    "en": [
        "\n".join(
            f"{n}, {n.lower()}{i}@mail.test, (555) 010-1{i:03d}"
            for i, n in enumerate(
                [
                    "Ann",
                    "Bob",
                    "Cleo",
                    "Dan",
                    "Eve",
                    "Finn",
                    "Gus",
                    "Hal",
                    "Ida",
                    "Jon",
                    "Kim",
                    "Lou",
                ]
            )
        ),
        "Name | SSN\n" + "\n".join(f"Person {i} | {100 + i}-45-{6000 + i}" for i in range(15)),
        " ".join(f"user{i}.surname@corp.test;" for i in range(40)),
        "Members\n"
        + "\n".join(
            f"- {n} Smith +44 7700 900{i:03d}"
            for i, n in enumerate(
                ["Al", "Bea", "Cy", "Di", "Ed", "Flo", "Guy", "Hew", "Ivy", "Jo", "Ken", "Liz"]
            )
        ),
    ],
    "zh": [
        "\n".join(f"张{n} 1380013{8000 + i}" for i, n in enumerate("一二三四五六七八九十甲乙丙")),
        "姓名 身份证号\n"
        + "\n".join(
            f"李{n} 11010119900307{1000 + i}" for i, n in enumerate("一二三四五六七八九十甲乙")
        ),
        "\n".join(
            f"王{n}，wang{i}@qq.test，010-6552{1000 + i}"
            for i, n in enumerate("一二三四五六七八九十甲乙")
        ),
    ],
}
NOT_PERSONAL = {
    "en": [
        "Contact us at info@shop.test or call (555) 010-1234. Our office is open on weekdays from nine to five.\nWrite to ann@shop.test for returns.",
        "\n".join(
            f"2024-03-{d:02d} 10:{d:02d}:00 INFO request {d * 7919} took 0.{d}37 s"
            for d in range(1, 29)
        ),
        "Model 4006381333931 costs 1,299.00. Order 5012345678900 or 4006381333948 instead. Pi is 3.14159265358979.",
        "\n".join(f"0.{i}4010309{i} 0.95777185{i}" for i in range(10, 30)),
        "The authors thank ada@uni.test, bo@uni.test and cy@uni.test for comments on this paper.\n"
        + "This line has text only.\n" * 20,
    ],
    "zh": [
        "如有疑问，请联系 service@shop.test，电话 010-65521000，工作日九点到五点。",
        "\n".join(f"第{d}题 答案 {d * 3.7:.6f} 编号 20240{d:03d}0012" for d in range(1, 25)),
    ],
}
