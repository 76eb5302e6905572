"""Postal addresses as they are written in Chinese."""

from __future__ import annotations

import re
from collections.abc import Iterator

from chatwright.curate.privacy.kinds import Found
from chatwright.curate.privacy.view import View

# Where an address may begin: provinces, and cities of prefecture level and above.
_PLACES_WORDS = (
    "北京 天津 上海 重庆 河北 山西 内蒙古 辽宁 吉林 黑龙江 江苏 浙江 安徽 福建 江西 山东 河南 "
    "湖北 湖南 广东 广西 海南 四川 贵州 云南 西藏 陕西 甘肃 青海 宁夏 新疆 台湾 香港 澳门 "
    "石家庄 唐山 秦皇岛 邯郸 邢台 保定 张家口 承德 沧州 廊坊 衡水 太原 大同 阳泉 长治 晋城 "
    "朔州 晋中 运城 忻州 临汾 吕梁 呼和浩特 包头 乌海 赤峰 通辽 鄂尔多斯 呼伦贝尔 巴彦淖尔 "
    "乌兰察布 沈阳 大连 鞍山 抚顺 本溪 丹东 锦州 营口 阜新 辽阳 盘锦 铁岭 朝阳 葫芦岛 长春 "
    "四平 辽源 通化 白山 松原 白城 延边 哈尔滨 齐齐哈尔 鸡西 鹤岗 双鸭山 大庆 伊春 佳木斯 "
    "七台河 牡丹江 黑河 绥化 南京 无锡 徐州 常州 苏州 南通 连云港 淮安 盐城 扬州 镇江 泰州 "
    "宿迁 杭州 宁波 温州 嘉兴 湖州 绍兴 金华 衢州 舟山 台州 丽水 合肥 芜湖 蚌埠 淮南 马鞍山 "
    "淮北 铜陵 安庆 黄山 滁州 阜阳 宿州 六安 亳州 池州 宣城 福州 厦门 莆田 三明 泉州 漳州 南平 "
    "龙岩 宁德 南昌 景德镇 萍乡 九江 新余 鹰潭 赣州 吉安 宜春 抚州 上饶 济南 青岛 淄博 枣庄 "
    "东营 烟台 潍坊 济宁 泰安 威海 日照 临沂 德州 聊城 滨州 菏泽 郑州 开封 洛阳 平顶山 安阳 "
    "鹤壁 新乡 焦作 濮阳 许昌 漯河 三门峡 南阳 商丘 信阳 周口 驻马店 武汉 黄石 十堰 宜昌 襄阳 "
    "鄂州 荆门 孝感 荆州 黄冈 咸宁 随州 恩施 长沙 株洲 湘潭 衡阳 邵阳 岳阳 常德 张家界 益阳 "
    "郴州 永州 怀化 娄底 湘西 广州 韶关 深圳 珠海 汕头 佛山 江门 湛江 茂名 肇庆 惠州 梅州 汕尾 "
    "河源 阳江 清远 东莞 中山 潮州 揭阳 云浮 南宁 柳州 桂林 梧州 北海 防城港 钦州 贵港 玉林 "
    "百色 贺州 河池 来宾 崇左 海口 三亚 儋州 成都 自贡 攀枝花 泸州 德阳 绵阳 广元 遂宁 内江 "
    "乐山 南充 眉山 宜宾 广安 达州 雅安 巴中 资阳 阿坝 甘孜 凉山 贵阳 六盘水 遵义 安顺 毕节 "
    "铜仁 昆明 曲靖 玉溪 保山 昭通 丽江 普洱 临沧 楚雄 红河 文山 西双版纳 大理 德宏 怒江 迪庆 "
    "拉萨 日喀则 昌都 林芝 山南 那曲 西安 铜川 宝鸡 咸阳 渭南 延安 汉中 榆林 安康 商洛 兰州 "
    "嘉峪关 金昌 白银 天水 武威 张掖 平凉 酒泉 庆阳 定西 陇南 临夏 甘南 西宁 海东 银川 石嘴山 "
    "吴忠 固原 中卫 乌鲁木齐 克拉玛依 吐鲁番 哈密 昌吉 伊犁 喀什 和田 阿克苏 塔城 台北 高雄 "
    "台中 台南 新北"
)
_PLACES = _PLACES_WORDS.split()
_PLACE = re.compile("|".join(sorted(_PLACES, key=lambda name: (-len(name), name))))

_NUMERAL = "0-9一二三四五六七八九十百"
_ANCHOR = re.compile(f"[号號弄栋幢室](?<=[{_NUMERAL}A-Za-z][号號弄栋幢室])")
_ROAD = "路|街|大道|道|巷|胡同|弄|公路|环路|马路"
_SITE = "里|村|园|小区|社区|庄|苑|城|大厦|镇|乡|屯|湾|府|庭|公寓|新村|家园|花园|区|宿舍|广场|中心"
_IS_ROAD = re.compile(_ROAD)
_CORE = re.compile(
    rf"(?P<name>[\u4e00-\u9fff]{{1,16}}?)(?P<kind>{_ROAD}"
    rf"|{_SITE})(?P<part>[东南西北中]?(?:[一二三四五六七八九十]{{1,2}}[段期区])?)"
    rf" ?(?:[甲乙丙丁])?(?:[{_NUMERAL}]{{1,5}}"
    rf"|[A-Za-z][0-9]{{0,3}})(?:[-之][0-9]{{1,4}})?[号號弄栋幢室]"
)
_ADMIN = re.compile("[\u4e00-\u9fff]{1,8}?(?:省|自治区|市|自治州|州|盟|区|县|旗|镇|乡|街道)")
_TAIL = re.compile(
    rf"[院楼]?(?: ?(?:[{_NUMERAL}A-Za-z]{{1,5}}(?:-[0-9]{{1,4}}){{0,2}}(?:号楼|号院|号|號"
    rf"|弄|栋|幢|座|楼|樓|层|單元|单元|室|户|房|院|门)"
    r"|[\u4e00-\u9fff]{2,8}(?:大厦|小区|花园|公寓|广场|家园|宿舍|大楼"
    r"|新村)(?=[0-9A-Za-z\s]|$|[^\u4e00-\u9fff]))){0,6}"
)
# Words that are in no address, and those that a road's name may have (和平路, 万科家园).
_STOP = re.compile("的|在|住|于|到|寄|送|址|去|了|我|你|您|他|她|收货|公司")
_WEAK_STOP = re.compile("是|为|往|给|叫|家|从|至|将|把|请|和|与|位|前|来|搬|店|过|有|个|第|经")
_BREAK = re.compile(r"[^\u4e00-\u9fff0-9A-Za-z -]")
_NO_ROAD = re.compile(
    r"(?:[这那哪家心城屋房手]里|一路|[上下半路顺]路|知道|频道|渠道|通道|轨道|赛道|管道"
    r"|地道|味道|街道|道路|马路|公路|逛街|地区|社区|园区|景区|赛区|小区|城区|市区|特区"
    r"|分区|专区|战区)\Z"
)
_WIDTH = 44


def find_addresses_zh(view: View) -> Iterator[Found]:
    """Chinese addresses: a road or estate with its number, what stands before and after it.

    Before it: province, city, district, town; after it: building, storey, room.

    It starts at the first province or city after the last word that cannot be in an address
    (`住在`, `寄到`). A road and a number alone are found with less confidence; an estate and a
    number only with a city, district or town before it.
    """
    text = view.text
    if text.isascii():
        return
    floor = 0
    for anchor in _ANCHOR.finditer(text):
        if anchor.start() < floor:
            continue
        start = max(floor, anchor.start() - _WIDTH)
        found = _address(text, start, anchor.end())
        if found is not None:
            floor = found.end
            yield found


def _address(text: str, start: int, end: int) -> Found | None:
    """The address, `start` or later, whose road and number end at `end`, with its tail."""
    for mark in _BREAK.finditer(text, start, end):
        start = mark.end()
    for word in _STOP.finditer(text, start, max(start, end - 4)):
        start = word.end()
    place = _PLACE.search(text, start, end)
    if place is not None:
        start = place.start()
    core = _core(text, start, end)
    if core is None:
        return None
    in_town = place is not None or _ADMIN.match(text, start, core.start("kind")) is not None
    # "这里3号", "每次上路5号": no road; an estate is known by its town.
    if not in_town and (_IS_ROAD.fullmatch(core["kind"]) is None or _no_road(core)):
        return None
    tail = _TAIL.match(text, end)
    to = tail.end() if tail else end
    if text.startswith("线", to):  # 地铁10号线
        return None
    if place is None:
        start = _own_start(text, start, core)
    while text[start] in " -":
        start += 1
    confidence = 0.85 if place is not None else 0.7 if in_town else 0.6
    return Found(start, to, "address", confidence, re.sub(r"\s", "", text[start:to]))


def _core(text: str, start: int, end: int) -> re.Match[str] | None:
    """The road and number that end at `end`, with the longest name from `start` on."""
    for at in range(max(start, end - 24), end - 2):
        m = _CORE.match(text, at, end)
        if m is not None and m.end() == end:
            return m
    return None


def _no_road(core: re.Match[str]) -> bool:
    return _NO_ROAD.search(core["name"] + core["kind"]) is not None


def _own_start(text: str, start: int, core: re.Match[str]) -> int:
    """Where an address without a known city begins: at its district or town, or at its road."""
    for word in _WEAK_STOP.finditer(text, start, max(start, core.start("kind") - 2)):
        start = word.end()
    admin = _ADMIN.match(text, start, core.start("kind"))
    if admin is not None and len(admin[0]) <= 5:
        return start
    return max(start, core.start("kind") - 4)
